"""What lies beside an ONNX file: what it takes, what it gives, and where it is from."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from lego_core.bundle import ModelBundle
from lego_core.export._graph import OPSET, OUTPUT
from lego_core.export._inputs import GraphInput
from lego_core.manifest import versions
from lego_core.prediction import Choice
from lego_core.records import ModalitySchema
from lego_core.tasks import Classification, MultiLabel, Survival, Task

HOW_TO_GIVE = (
    "Raw measurements in the units of the run, NaN where nothing was measured; they are normalised inside. A "
    "patient with nothing measured in a modality lacks it. 'present' says which rows are real, 'times_days' "
    "when each was taken."
)
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def describe(
    bundle: ModelBundle,
    choice: Choice,
    schemas: Mapping[str, ModalitySchema],
    inputs: Sequence[GraphInput],
) -> dict[str, Any]:
    """Inputs with names, order, and the mean and spread that tell their units; outputs; origin."""
    blocks = bundle.models.merged.blocks
    return {
        "format": 1,
        "model": choice.name,
        "plan": bundle.plan.name,
        "bundle sha256": bundle.sha256,
        "opset": OPSET,
        "inputs": [
            {
                "name": one.name,
                "axes": list(one.axes),
                "type": "bool" if one.name.endswith(".present") else "float32",
            }
            for one in inputs
        ],
        "how to give": HOW_TO_GIVE,
        "modalities": {
            name: {
                "layout": schema.layout,
                "grid": schema.grid,
                "features": [
                    {"name": feature, "mean": mean, "standard deviation": stddev}
                    for feature, mean, stddev in zip(
                        schema.features,
                        blocks[name].feature_mean.tolist(),
                        blocks[name].feature_stddev.tolist(),
                        strict=True,
                    )
                ],
            }
            for name, schema in schemas.items()
        },
        "output": {"name": OUTPUT, "columns": _columns(bundle.agreement.task)},
        "versions": {**versions(), **_export_versions()},
    }


def _columns(task: Task) -> list[str]:
    match task:
        case Classification():
            return [f"probability_{name}" for name in task.classes]
        case MultiLabel():
            return [f"probability_{name}" for name in task.labels]
        case Survival():
            ends = [f"{edge:.10g}d" for edge in task.bin_edges_days or ()]
            return [f"survival_{end}" for end in [*ends, "end"]]


def _export_versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def as_text(value: object) -> str:
    """A piece of it as it stands in the file itself."""
    return value if isinstance(value, str) else json.dumps(value)
