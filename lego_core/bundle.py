"""ModelBundle: the folder that a run hands over. One line loads it again; never a pickle.

weights.safetensors   every block, the fused model if there is one
manifest.json         plan, agreement, hashes of every block and file, versions
report.json           what the run did and what came of it
card.md               the same for people
signature.json        who vouches for the manifest, if somebody does
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor

from lego_core._bundle_signature import SIGNATURE, signature_file
from lego_core.assemble import build_models
from lego_core.errors import BundleError
from lego_core.evaluation import ModelSet
from lego_core.fuse import LegoFuse
from lego_core.manifest import (
    MANIFEST,
    MadeFrom,
    Manifest,
    Provenance,
    checked_file,
    hash_of_manifest,
    lego_version,
    manifest_bytes,
    read_manifest,
    versions,
)
from lego_core.merge import LegoMerge
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.records import Cohort
from lego_core.report import render_card
from lego_core.run_report import RunReport
from lego_core.signing import SigningKey
from lego_core.training import predict_logits

WEIGHTS, REPORT, CARD = "weights.safetensors", "report.json", "card.md"


@dataclass(frozen=True)
class ModelBundle:
    """A trained federation: its models, how they came to be, and how good they are.

    Args:
        models: The blocks merged, and fused if the plan said so.
        plan: What the run did.
        agreement: Features of every modality, and the task with its time bins and base rates.
        report: What came of it.
        provenance: What the records of the run must still hold.
        made_from: Which other bundle it was made from; absent if a run made it.
        sha256: Hash of the manifest it was loaded with, which names the hash of every file; empty
            until then.
    """

    models: ModelSet
    plan: RunPlan
    agreement: Agreement
    report: RunReport
    provenance: Provenance | None = None
    made_from: MadeFrom | None = None
    sha256: str = field(default="", compare=False)

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

    def save(self, folder: Path, *, key: SigningKey | None = None) -> None:
        """Write the bundle, whole or not at all; a bundle that was there is replaced.

        Args:
            folder: Where to.
            key: Who vouches for it; nobody if none is given.
        """
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
            provenance=self.provenance,
            made_from=self.made_from,
        )
        files[MANIFEST] = manifest_bytes(manifest)
        if key is not None:
            files[SIGNATURE] = signature_file(files[MANIFEST], key)
        for name, content in files.items():
            (unfinished / name).write_bytes(content)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)

    @classmethod
    def load(cls, folder: str | Path, *, trusted_keys: Collection[str] = ()) -> "ModelBundle":
        """Read a bundle, after checking every byte of it.

        Args:
            folder: The bundle.
            trusted_keys: Public keys, one of which must have signed it. Without any, hashes show damage
                but not an attacker.

        Raises:
            BundleError: If a file is missing or was changed, the bundle is of a newer format, or nobody who
                is trusted signed it.
        """
        folder = Path(folder)
        manifest = read_manifest(folder, trusted_keys=trusted_keys)
        contents = {name: checked_file(folder, name, digest) for name, digest in manifest.files.items()}
        models = build_models(
            manifest.plan,
            manifest.agreement,
            list(manifest.agreement.schemas),
            with_fused=manifest.with_fused,
        )
        try:
            models.load_state_dict(load(contents[WEIGHTS]))
        except RuntimeError as error:
            raise BundleError(
                f"Bundle '{folder.name}': its weights do not fit the models that this version of the code "
                f"builds from its plan. It was made with lego_core {manifest.versions.get('lego_core')}, and "
                f"this is {lego_version()}. Read it with the code that made it.",
                local=str(error),
            ) from error
        report = RunReport.model_validate_json(contents[REPORT])
        return cls(
            models.eval(),
            manifest.plan,
            manifest.agreement,
            report,
            manifest.provenance,
            manifest.made_from,
            sha256=hash_of_manifest(folder),
        )


def hash_of_state(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of a model's state, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
