"""What a graph is given: one to three tensors per modality, raw, NaN where nothing was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from lego_core.block import Blocks
from lego_core.records import Inputs, ModalitySchema

LONGEST = 6
MEASURED = 0.8


@dataclass(frozen=True, slots=True)
class GraphInput:
    """One tensor that a graph takes.

    Args:
        name: `MODALITY.values`, `MODALITY.present` (which rows are real), `MODALITY.times_days`.
        axes: Its axes: names where any size will do, or numbers.
    """

    name: str
    axes: tuple[str | int, ...]


def graph_inputs(schemas: Mapping[str, ModalitySchema]) -> list[GraphInput]:
    """The inputs of a graph, in order."""
    found: list[GraphInput] = []
    for name, schema in schemas.items():
        rows = f"rows_of_{name}"
        if schema.layout == "table":
            found.append(GraphInput(f"{name}.values", ("patients", schema.num_features)))
            continue
        if schema.grid is not None:
            found.append(GraphInput(f"{name}.values", ("patients", *schema.grid, schema.num_features)))
            continue
        found.append(GraphInput(f"{name}.values", ("patients", rows, schema.num_features)))
        found.append(GraphInput(f"{name}.present", ("patients", rows)))
        if schema.layout == "series":
            found.append(GraphInput(f"{name}.times_days", ("patients", rows)))
    return found


def read_inputs(tensors: Sequence[Tensor], schemas: Mapping[str, ModalitySchema]) -> dict[str, Inputs]:
    """What these tensors say of each modality; who has no measured value in one does not hold it."""
    given = iter(tensors)
    found = {}
    for name, schema in schemas.items():
        values = next(given)
        if schema.layout == "table":
            values = values.unsqueeze(1)
        elif schema.grid is not None:
            values = values.flatten(1, 2)
        is_long = schema.layout in ("series", "bag")
        present = next(given) if is_long else torch.ones_like(values[..., 0], dtype=torch.bool)
        times_days = next(given) if schema.layout == "series" else torch.zeros_like(values[..., 0])
        measured = ~values.isnan() & present.unsqueeze(-1)
        held = measured.flatten(1).any(dim=1)
        found[name] = Inputs(torch.where(measured, values, 0.0), measured, present, times_days, held)
    return found


def as_tensors(inputs: Mapping[str, Inputs], schemas: Mapping[str, ModalitySchema]) -> list[Tensor]:
    """The tensors that say these inputs; the way back of `read_inputs`."""
    tensors: list[Tensor] = []
    for name, schema in schemas.items():
        own = inputs[name]
        values = torch.where(own.measured & own.held[:, None, None], own.values, torch.nan)
        if schema.layout == "table":
            tensors.append(values[:, 0])
        elif schema.grid is not None:
            tensors.append(values.unflatten(1, schema.grid))
        else:
            tensors += [values, own.present, *([own.times_days] if schema.layout == "series" else [])]
    return tensors


def made_up_inputs(blocks: Blocks, modalities: Sequence[str], *, each: int, seed: int) -> dict[str, Inputs]:
    """Patients like those that the blocks were trained on, `each` with every subset of the modalities."""
    generator = torch.Generator().manual_seed(seed)
    sizes = range(1, len(modalities) + 1)
    subsets = [set(one) for size in sizes for one in combinations(modalities, size)]
    holders = [subset for subset in subsets for _ in range(each)]
    found = {}
    for name in modalities:
        block = blocks[name]
        held = torch.tensor([name in subset for subset in holders])
        found[name] = _made_up(block.schema, block.feature_mean, block.feature_stddev, held, generator)
    return found


def _made_up(
    schema: ModalitySchema, mean: Tensor, stddev: Tensor, held: Tensor, generator: torch.Generator
) -> Inputs:
    count = len(held)
    rows = {"table": 1, "image": (schema.grid or (1, 1))[0] * (schema.grid or (1, 1))[1]}.get(
        schema.layout, LONGEST
    )
    shape = (count, rows, schema.num_features)
    values = mean + stddev * torch.randn(shape, generator=generator)
    measured = torch.rand(shape, generator=generator) < MEASURED
    measured[:, 0, 0] = True
    lengths = torch.full((count,), rows)
    if schema.layout in ("series", "bag"):
        lengths = torch.randint(1, rows + 1, (count,), generator=generator)
    present = (torch.arange(rows) < lengths[:, None]) & held[:, None]
    measured = measured & present[..., None]
    times = torch.zeros(count, rows)
    if schema.layout == "series":
        times = (1000 * torch.rand(count, rows, generator=generator)).sort(dim=1).values * present
    return Inputs(torch.where(measured, values, 0.0), measured, present, times, held)
