"""Write a model of a bundle as ONNX, check it, and only then let it out."""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.bundle import ModelBundle
from lego_core.errors import ExportError
from lego_core.export._description import as_text, describe
from lego_core.export._graph import graph_of, run_graph, unchecked, with_metadata
from lego_core.export._inputs import as_tensors, graph_inputs, made_up_inputs
from lego_core.export._models import Ensemble, ExportForm, Fused, Merged, OneBlock
from lego_core.prediction import Choice
from lego_core.records import Batch, Inputs
from lego_core.tasks import Task

TOLERANCE = 1e-5
ROUNDINGS = 4.0  # of the bundle that the graph, which rounds elsewhere, may be away
PATIENTS = 64  # made up, to compare the graph with


@dataclass(frozen=True)
class Exported:
    """A model as an ONNX file.

    Args:
        model: Which one.
        content: The file.
        description: What lies beside it as JSON: inputs, outputs, origin, and how it was checked.
        largest_difference: From what the bundle predicts, over all made-up patients and outputs.
    """

    model: str
    content: bytes
    description: dict[str, Any]
    largest_difference: float


def export_onnx(
    bundle: ModelBundle, choice: Choice, *, tolerance: float = TOLERANCE, seed: int = 0
) -> Exported:
    """Write one model as an ONNX graph, normalisation included, and compare it with the bundle's own.

    Args:
        bundle: The result of a run.
        choice: Which of its models.
        tolerance: The largest difference of a prediction that is allowed.
        seed: Makes up the patients that both predict, with every subset of the modalities among them.

    Raises:
        ExportError: If the model has no form without complex numbers, cannot be written, or if the graph
            says something else than the model; also if the packages of the extra `export` are missing.
    """
    blocks = bundle.models.merged.blocks
    schemas = {name: blocks[name].schema for name in choice.modalities}
    task = bundle.agreement.task
    form = ExportForm(_form_of(bundle, choice, task), schemas, task).eval()
    inputs = graph_inputs(schemas)
    each = -(-PATIENTS // (2 ** len(schemas) - 1))
    made_up = made_up_inputs(blocks, choice.modalities, each=each, seed=seed)
    tensors = as_tensors(made_up, schemas)
    graph = graph_of(form, tensors, inputs)
    described = describe(bundle, choice, schemas, inputs)
    checked = _compare(
        run_graph(graph.SerializeToString(), tensors),
        _said_by_bundle(bundle, choice, made_up),
        exact=_exactly(form, tensors),
    )
    if not checked.excess <= tolerance:
        raise ExportError(
            f"Model '{choice.name}' as ONNX says something else than the bundle: on {len(tensors[0])} "
            f"made-up patients the largest difference is {checked.difference:.2g}, the bundle's own rounding "
            f"is {checked.rounding:.2g} at most, and {tolerance:.2g} beyond it is allowed. Nothing was "
            "written. Try another version of onnxruntime, or predict with 'fedlego predict'."
        )
    described["checked"] = {
        "patients": len(tensors[0]),
        "seed": seed,
        "largest difference": checked.difference,
        "largest rounding of the bundle": checked.rounding,
        "tolerance beyond rounding": tolerance,
    }
    content = with_metadata(graph, {key: as_text(value) for key, value in described.items()})
    return Exported(choice.name, content, described, checked.difference)


def write_exports(exports: Sequence[Exported], folder: Path) -> list[Path]:
    """Write `MODEL.onnx` and `MODEL.json` of each.

    Raises:
        ExportError: If they cannot be written.
    """
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in exports:
            stem = one.model.replace(":", "-")
            about = json.dumps(one.description, indent=1, allow_nan=False).encode()
            for path, content in ((folder / f"{stem}.onnx", one.content), (folder / f"{stem}.json", about)):
                unfinished = path.with_name(f".{path.name}.unfinished")
                unfinished.write_bytes(content)
                unfinished.replace(path)
                written.append(path)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise ExportError(
            f"Folder '{folder.name}' cannot be written to ({error.strerror}). Make room, or choose another.",
            local=str(error),
        ) from error
    return written


def _form_of(bundle: ModelBundle, choice: Choice, task: Task) -> nn.Module:
    models = bundle.models
    if choice.method == "block":
        return OneBlock(models.merged.blocks[choice.modalities[0]], task)
    if choice.method == "fuse" and models.fused is not None:
        return Fused(models.fused, task)
    return Merged(models.merged, task) if choice.method == "merge" else Ensemble(models.merged, task)


@dataclass(frozen=True)
class _Checked:
    """How far a graph is from its bundle.

    Args:
        difference: The largest.
        rounding: How far the bundle's own single precision is from double precision, at most. Where the
            phases of blocks all but cancel, a mean direction hangs on the last digit.
        excess: The largest difference that such rounding of the same patient does not explain.
    """

    difference: float
    rounding: float
    excess: float


def _compare(graph: Tensor, bundle: Tensor, *, exact: Tensor) -> _Checked:
    differences, roundings = (graph - bundle).abs(), (bundle - exact).abs().amax(dim=1, keepdim=True)
    excess = float((differences - ROUNDINGS * roundings).max()) if differences.isfinite().all() else math.inf
    return _Checked(float(differences.max()), float(roundings.max()), excess)


@torch.no_grad()
def _exactly(form: nn.Module, tensors: Sequence[Tensor]) -> Tensor:
    """What the graph would say in double precision."""
    doubles = [one.double() if one.is_floating_point() else one for one in tensors]
    with unchecked():
        return copy.deepcopy(form).double()(*doubles).float()


def _said_by_bundle(
    bundle: ModelBundle, choice: Choice, inputs: Mapping[str, Inputs]
) -> Float[Tensor, "B Q"]:
    """What the bundle predicts for the same patients: those who hold the same modalities, together."""
    held = torch.stack([one.held for one in inputs.values()])
    found: Tensor | None = None
    for pattern in torch.unique(held, dim=1).unbind(1):
        rows = (held == pattern[:, None]).all(dim=0)
        names = [name for name, has_it in zip(inputs, pattern, strict=True) if has_it]
        own = {name: inputs[name].select(rows) for name in names}
        batch = Batch(own, torch.zeros(int(rows.sum()), 0))
        said = bundle.models.predict(choice.method, batch, bundle.agreement.task)
        found = torch.zeros(len(rows), said.shape[1]) if found is None else found
        found[rows] = said
    return torch.zeros(0, 1) if found is None else found
