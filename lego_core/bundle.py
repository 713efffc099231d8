"""ModelBundle: the folder that a run hands over. One line loads it again; never a pickle.

weights.safetensors   every block, the fused model if there is one
manifest.json         plan, agreement, hashes of every block and file, versions
report.json           what the run did and what came of it
card.md               the same for people
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors.torch import load, save
from torch import Tensor

from lego_core.assemble import build_models
from lego_core.component import Component, explain
from lego_core.errors import BundleError
from lego_core.evaluation import ModelSet
from lego_core.fuse import LegoFuse
from lego_core.merge import LegoMerge
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.records import Cohort
from lego_core.report import render_card
from lego_core.run_report import RunReport
from lego_core.training import predict_logits

FORMAT = 1
WEIGHTS, MANIFEST, REPORT, CARD = "weights.safetensors", "manifest.json", "report.json", "card.md"
SEAL = "seal"  # the key of manifest.json that holds the hash of all its others
PACKAGES = ("torch", "numpy", "safetensors", "pydantic", "scikit-survival", "torchmetrics")


@final
class Manifest(Component):
    """What a bundle is made of.

    Args:
        format: Version of this form; a newer one is refused.
        blocks: SHA-256 of the weights of every block, by modality.
        files: SHA-256 of every other file, by its name.
    """

    format: Literal[1] = FORMAT
    plan: RunPlan
    agreement: Agreement
    with_fused: bool
    blocks: dict[str, str]
    files: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True)
class ModelBundle:
    """A trained federation: its models, how they came to be, and how good they are.

    Args:
        models: The blocks merged, and fused if the plan said so.
        plan: What the run did.
        agreement: Features of every modality, and the task with its time bins and base rates.
        report: What came of it.
    """

    models: ModelSet
    plan: RunPlan
    agreement: Agreement
    report: RunReport

    @property
    def model(self) -> LegoMerge | LegoFuse:
        """The model: the fused one if the run fused, the merge otherwise."""
        return self.models.fused or self.models.merged

    def predict(self, cohort: Cohort) -> Float[Tensor, "B Q"]:
        """Predict for patients with any subset of the modalities, from raw measurements.

        Returns:
            Class probabilities, or the survival curve at the end of each time bin; one row
            per patient, in order.

        Raises:
            DataError: If an agreed feature is missing, or a patient has no known modality.
        """
        for name, schema in self.agreement.schemas.items():
            if name in cohort.schemas:
                cohort = cohort.with_features(name, schema.features)
        logits, _ = predict_logits(self.model, cohort)
        return self.agreement.task.predict(logits)

    def save(self, folder: Path) -> None:
        """Write the bundle, whole or not at all; a bundle that was there is replaced."""
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        state = {name: tensor.contiguous() for name, tensor in self.models.state_dict().items()}
        report = json.dumps(self.report.model_dump(mode="json"), indent=1)
        blocks = {
            name: hash_of_state(block.state_dict()) for name, block in self.models.merged.blocks.items()
        }
        files = {WEIGHTS: save(state), REPORT: report.encode()}
        files[CARD] = render_card(self.report, manifest={"blocks": blocks}).encode()
        manifest = Manifest(
            plan=self.plan,
            agreement=self.agreement,
            with_fused=self.models.fused is not None,
            blocks=blocks,
            files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            versions=versions(),
        )
        plain = manifest.to_plain()
        files[MANIFEST] = json.dumps({**plain, SEAL: _seal(plain)}, indent=1).encode()
        for name, content in files.items():
            (unfinished / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "ModelBundle":
        """Read a bundle, after checking every byte of it.

        Raises:
            BundleError: If a file is missing or was changed, or the bundle is of a newer format.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        contents = {name: _checked_file(folder, name, digest) for name, digest in manifest.files.items()}
        models = build_models(
            manifest.plan,
            manifest.agreement,
            list(manifest.agreement.schemas),
            with_fused=manifest.with_fused,
        )
        models.load_state_dict(load(contents[WEIGHTS]))
        report = RunReport.model_validate_json(contents[REPORT])
        return cls(models.eval(), manifest.plan, manifest.agreement, report)


def read_manifest(folder: Path) -> Manifest:
    """Read what a bundle is made of.

    Raises:
        BundleError: If there is no bundle, or it is of a newer format.
    """
    try:
        plain: dict[str, Any] = dict(json.loads((folder / MANIFEST).read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(
            f"'{folder.name}' is not a bundle: its {MANIFEST} is missing or not JSON. Give the folder that "
            "holds it.",
            local=str(error),
        ) from error
    if plain.get("format") != FORMAT:
        raise BundleError(
            f"Bundle '{folder.name}' has format {plain.get('format')!r}, and lego_core "
            f"{lego_version()} reads format {FORMAT}. Install a newer lego_core."
        )
    if plain.pop(SEAL, "") != _seal(plain):
        raise BundleError(
            f"Bundle '{folder.name}': its {MANIFEST} was changed or damaged; copy the bundle again from its "
            "origin."
        )
    try:
        return Manifest.model_validate(plain)
    except ValidationError as error:
        raise explain(error, where=f"{MANIFEST} of bundle '{folder.name}'", kind=BundleError) from error


def hash_of_state(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of a model's state, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _seal(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """What computed the weights: this project, Python, and the packages that matter."""
    return {
        "lego_core": lego_version(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def lego_version() -> str:
    """The version of this code, which also runs without being installed (in Flower's bundle)."""
    from lego_core import __version__

    return __version__


def _checked_file(folder: Path, name: str, digest: str) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"Bundle '{folder.name}' has no file '{name}'. Copy the whole folder again.", local=str(error)
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise BundleError(
            f"Bundle '{folder.name}': file '{name}' has hash {found[:12]}… and the manifest says "
            f"{digest[:12]}…. It was changed or damaged; copy the bundle again from its origin."
        )
    return content
