"""Hospitals of patients who do not exist, in the form that a plan's hospitals would have."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import get_args

import numpy as np
import torch

from lego_core.errors import PlanError
from lego_core.plan import RunPlan
from lego_core.records import Cohort, Layout, Measurement, ModalitySchema, Outcome, Part, PatientRecord
from lego_core.tasks import Classification, MultiLabel, Survival, Task

TRAINED, KEPT = 12, 4  # patients of a hospital: for training, and for each of validation and test
PARTS: tuple[Part, ...] = (*get_args(Part)[:1] * TRAINED, *get_args(Part)[1:] * KEPT)
ROWS = 3  # of a series or a bag
UNMEASURED = 0.1


def made_up_hospitals(
    plan: RunPlan, schemas: Mapping[str, ModalitySchema], *, sites: int | None = None
) -> dict[str, Cohort]:
    """Some patients for every hospital of the plan's simulation, or for so many of each kind in turn.

    Args:
        plan: The run.
        schemas: Layout and features of every modality.
        sites: How many hospitals, in place of the plan's own: one modality each, the next one all of them;
            where paired sites train blocks, every hospital has all.

    Raises:
        PlanError: If a modality has no schema, or the plan does not say how many hospitals there are.
    """
    lacking = [name for name in plan.modalities if name not in schemas]
    if lacking:
        raise PlanError(
            f"Nothing says what '{lacking[0]}' looks like. Give --features {lacking[0]}=table:12, or a "
            "site's "
            "file (--site-file)."
        )
    held: dict[str, Sequence[str]]
    if sites is None and plan.simulation is not None:
        held = {name: group.modalities for group in plan.simulation.groups for name in group.names}
    else:
        kinds = _kinds_of_sites(plan)
        terms = plan.privacy.sum_terms
        needed = max(plan.participation.smallest_group, terms.fewest if terms else 1) * len(kinds)
        count = sites or max(plan.participation.sites or 2, needed)
        held = {f"site-{number + 1}": kinds[number % len(kinds)] for number in range(count)}
    rng = np.random.default_rng(plan.seed)
    return {
        name: _hospital(name, {one: schemas[one] for one in own}, task=plan.task, rng=rng)
        for name, own in held.items()
    }


def _kinds_of_sites(plan: RunPlan) -> list[tuple[str, ...]]:
    """What sites hold, in turn: so that every block is trained, and every model fused and tested."""
    every = tuple(plan.modalities)
    alone = [] if plan.rounds.paired_sites_train_blocks or len(every) == 1 else [(one,) for one in every]
    return [*alone, every]


def read_features(text: str) -> tuple[str, ModalitySchema]:
    """Read `clinical=table:12`, or `scan=image:1:32x32`: modality, layout, features, and pixels.

    Raises:
        PlanError: If it is not written so.
    """
    name, _, form = text.partition("=")
    layout, _, rest = form.partition(":")
    count, _, size = rest.partition(":")
    height, _, width = size.partition("x")
    is_image = layout == "image"
    numbers = [count, height, width] if is_image else [count]
    if not name or layout not in get_args(Layout) or not all(one.isdecimal() and int(one) for one in numbers):
        raise PlanError(
            f"'{text}' does not say what a modality looks like. Write 'clinical=table:12', where table may "
            "be "
            f"one of {list(get_args(Layout))}; an image has its pixels too, 'scan=image:1:32x32'."
        )
    features = tuple(f"feature-{number}" for number in range(int(count)))
    grid = (int(height), int(width)) if is_image else None
    return name, ModalitySchema.model_validate({"layout": layout, "features": features, "grid": grid})


def _hospital(
    name: str, schemas: Mapping[str, ModalitySchema], *, task: Task, rng: np.random.Generator
) -> Cohort:
    records = tuple(
        PatientRecord(
            f"{name}-{number:02d}",
            {modality: _measured(schema, rng) for modality, schema in schemas.items()},
            _outcome(task, number, rng),
            part=part,
        )
        for number, part in enumerate(PARTS)
    )
    return Cohort(records, schemas)


def _measured(schema: ModalitySchema, rng: np.random.Generator) -> Measurement:
    rows = {"table": 1, "image": prod(schema.grid or (1,))}.get(schema.layout, ROWS)
    values = rng.standard_normal((rows, schema.num_features), dtype=np.float32)
    if schema.num_features > 1 and schema.layout != "image":
        values[rng.random(values.shape) < UNMEASURED] = np.nan
        values[:, 0] = 1 + rng.random(rows)  # so that nobody is without any value
    days = torch.arange(rows, dtype=torch.float32) if schema.layout == "series" else None
    return Measurement(torch.from_numpy(values), days)


def _outcome(task: Task, number: int, rng: np.random.Generator) -> Outcome:
    match task:
        case Survival():
            return Outcome((float(np.float32(rng.exponential(1000.0))), float(number % 3 > 0)))
        case Classification():
            return Outcome((float(number % len(task.classes)),))
        case MultiLabel():
            return Outcome(tuple(float((number >> place % 4) % 2) for place, _ in enumerate(task.labels)))
