"""Patients who do not exist: what is found out with them tells nothing of any who do."""

from collections.abc import Sequence
from itertools import cycle, islice
from math import prod
from typing import cast

import torch
from torch import Generator, nn

from lego_core.block import LegoBlock
from lego_core.per_patient import HasConstants
from lego_core.records import Cohort, Measurement, ModalitySchema, Outcome, PatientRecord
from lego_core.statistics import Normalisation
from lego_core.tasks import Classification, MultiLabel, Survival, Task

FEWEST = 8
ROWS = (3, 1, 4, 2)  # of series and bags, one patient after another
UNMEASURED = 0.2  # of all values
SHAKEN = 0.1  # how far weights are moved, since behind a weight of zero every gradient is right


def made_up_patients(model: nn.Module, task: Task) -> Cohort:
    """Patients whom a model of blocks can read, as unlike as patients are.

    They hold every modality, all but one, or one alone; they differ in rows, in what was measured and
    in what became of them. All follows from the blocks' schemas and the task; two calls give the same.
    """
    schemas = {part.modality: part.schema for part in model.modules() if isinstance(part, LegoBlock)}
    forms = _forms(tuple(schemas))
    generator = Generator().manual_seed(0)
    rows = {name: cycle(ROWS) for name in schemas}
    records = [
        PatientRecord(
            f"made-up-{number}",
            {name: _measured(schemas[name], next(rows[name]), generator) for name in held},
            _outcome(task, number),
        )
        for number, held in enumerate(islice(cycle(forms), max(FEWEST, len(forms))))
    ]
    return Cohort(tuple(records), schemas)


@torch.no_grad()
def begin_anew(model: nn.Module) -> None:
    """Forget what a model has of any patients: weights and normalisation start afresh, by a fixed seed.

    Bare weights of foreign modules, whose start nobody knows, are only shaken, as all are.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for part in model.modules():
            if isinstance(part, LegoBlock):
                part.normalise_with(
                    Normalisation(torch.zeros_like(part.feature_mean), torch.ones_like(part.feature_stddev))
                )
            if type(part).__module__.startswith("torch.nn.modules.") and hasattr(part, "reset_parameters"):
                cast(nn.Linear, part).reset_parameters()
            for name in part.learned_constants if isinstance(part, HasConstants) else ():
                part.get_parameter(name).normal_()
        for weight in model.parameters():
            weight.add_(SHAKEN * torch.randn_like(weight))


def _forms(every: tuple[str, ...]) -> Sequence[tuple[str, ...]]:
    alone = [(name,) for name in every]
    all_but_one = [tuple(other for other in every if other != name) for name in every]
    return [every, *alone, *(form for form in all_but_one if form)]


def _measured(schema: ModalitySchema, rows: int, generator: Generator) -> Measurement:
    if schema.layout in {"table", "image"}:
        rows = prod(schema.grid or (1,))
    values = torch.randn(rows, schema.num_features, generator=generator)
    values[torch.rand(values.shape, generator=generator) < UNMEASURED] = torch.nan
    days = torch.rand(rows, generator=generator).cumsum(0) if schema.layout == "series" else None
    return Measurement(values, days)


def _outcome(task: Task, number: int) -> Outcome:
    match task:
        case Survival():
            edges = task.bin_edges_days or (1.0,)
            days = (0.0, *edges)[number % (len(edges) + 1)]
            return Outcome((days, float(number // 2 % 2)))
        case Classification():
            return Outcome((float(number % len(task.classes)),))
        case MultiLabel():
            return Outcome(tuple(float((number >> place) % 2) for place, _ in enumerate(task.labels)))
