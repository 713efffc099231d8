"""Who trains, who stops the training, who is kept apart: a split by patient that anyone can repeat."""

import hashlib
from dataclasses import replace
from typing import final

from pydantic import Field, model_validator

from lego_core.component import Component
from lego_core.records import Cohort, Part, collate
from lego_core.tasks import Task


@final
class Split(Component):
    """Shares of a site's patients; they must add up to 1.

    Args:
        train: Share that the models learn from.
        validation: Share that decides when to stop, which block is best, and whether merging pays.
        test: Share that nothing but the final evaluation sees.
    """

    train: float = Field(default=0.7, ge=0, le=1)
    validation: float = Field(default=0.15, ge=0, le=1)
    test: float = Field(default=0.15, ge=0, le=1)

    @model_validator(mode="after")
    def _check_sum(self) -> "Split":
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, validation and test add up to {total:g} and must add up to 1")
        return self


def split_by_patient(cohort: Cohort, split: Split, *, task: Task, seed: int) -> Cohort:
    """Give every patient a part, in the same proportions in every stratum of the outcome.

    A patient's part depends on the seed and on the identifiers of the cohort alone, not on
    the order of any file. Parts that the data prescribe are left as they are.

    Args:
        cohort: The patients.
        split: The shares.
        task: Tells the strata (event or not, which class).
        seed: Another seed gives another split.

    Raises:
        DataError: If there is no patient, or the outcomes are not outcomes of the task.
    """
    task.check_outcomes(collate(cohort.records, {}).outcomes)
    free = [record for record in cohort.records if record.part is None]
    if not free:
        return cohort
    strata = task.strata(collate(free, {}).outcomes).tolist()
    ordered = sorted(zip(strata, free, strict=True), key=lambda pair: _draw(pair[1].patient_id, seed))
    sizes = {stratum: strata.count(stratum) for stratum in set(strata)}
    seen = dict.fromkeys(sizes, 0)
    parts: dict[str, Part] = {}
    for stratum, record in ordered:
        parts[record.patient_id] = _part_at((seen[stratum] + 0.5) / sizes[stratum], split)
        seen[stratum] += 1
    return cohort.keep(
        record if record.part else replace(record, part=parts[record.patient_id]) for record in cohort.records
    )


def _part_at(quantile: float, split: Split) -> Part:
    if quantile < split.test:
        return "test"
    return "validation" if quantile < split.test + split.validation else "train"


def _draw(patient_id: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{patient_id}".encode()).hexdigest()
