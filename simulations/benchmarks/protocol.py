"""Who trains, who chooses and who is tested, trial by trial; always by patient."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import final

from pydantic import Field

from lego_core.component import Component
from lego_core.records import Cohort, PatientRecord, collate
from lego_core.split import Split, split_by_patient
from lego_core.tasks import Task

LARGE_COHORT = 1500
FOLDS = 5
VALIDATION_SHARE = 0.15
MOSTLY_COMPLETE = 0.8


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Which trial: the repeat and the fold, both counted from 1."""

    repeat: int
    fold: int

    def __str__(self) -> str:
        return f"repeat-{self.repeat}-fold-{self.fold}"


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One split of the patients.

    Args:
        place: Which one.
        seed: The common start of its blocks, and the randomness of all training in it.
        train: Patients to learn from, with everything they hold.
        validation: Patients to stop by and to choose by.
        test: Patients every method is scored on. Nothing is chosen by them.
    """

    place: Place
    seed: int
    train: Cohort
    validation: Cohort
    test: Cohort

    def agreed(self, task: Task) -> Task:
        """The task with what training patients decide: time bins, classes that occur.

        Raises:
            PlanError: If they do not suffice: no events, or one class only.
        """
        return task.agree(task.summarise(self.train))


@final
class Protocol(Component):
    """How often and how the patients are split.

    Args:
        repeats: How often everything is done again, from other splits.
        folds: Parts of a cross-validation; 1 splits 70/15/15 instead.
        trials_per_repeat: How many of the folds are tried; all of them, unless it is a quick look.
        seed: Another seed gives other splits and other starts.
    """

    repeats: int = Field(ge=1)
    folds: int = Field(ge=1)
    trials_per_repeat: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)

    @classmethod
    def for_cohort(cls, patients: int, *, repeats: int | None, seed: int, quick: bool) -> "Protocol":
        """The protocol that fits the number of patients.

        Five splits of 70/15/15 for large cohorts; five-fold cross-validation, three times, for
        those of fewer than 1,500 patients, so that every patient is tested.
        """
        large = patients >= LARGE_COHORT
        usual = 1 if quick else 5 if large else 3
        return cls(
            repeats=repeats or usual,
            folds=1 if large else FOLDS,
            trials_per_repeat=1 if large else 2 if quick else FOLDS,
            seed=seed,
        )

    def with_at_least(self, trials: int) -> "Protocol":
        """The same splits, and more of them if there would be fewer trials: further folds, or repeats."""
        per_repeat = min(self.folds, max(self.trials_per_repeat, ceil(trials / self.repeats)))
        repeats = max(self.repeats, ceil(trials / per_repeat))
        return self.model_copy(update={"repeats": repeats, "trials_per_repeat": per_repeat})

    @property
    def places(self) -> list[Place]:
        """All trials, in order."""
        return [
            Place(repeat + 1, fold + 1)
            for repeat in range(self.repeats)
            for fold in range(self.trials_per_repeat)
        ]

    def trial(self, cohort: Cohort, place: Place, *, task: Task) -> Trial:
        """Split the patients, in the same proportions in every stratum of the outcome.

        Tested are patients who hold every modality, so that all methods speak of the same
        people; where fewer than 80 % of the cohort do, everybody in the test part is.
        """
        seed = _number(f"{self.seed}/repeat/{place.repeat}")
        undecided = cohort.keep(replace(record, part=None) for record in cohort.records)
        if self.folds == 1:
            split = Split(train=0.7, validation=VALIDATION_SHARE, test=0.15)
            parted = split_by_patient(undecided, split, task=task, seed=seed)
        else:
            parted = _cross_validated(undecided, self.folds, fold=place.fold, task=task, seed=seed)
        test = parted.part("test")
        if is_mostly_complete(cohort):
            test = test.holding(*cohort.modalities)
        start = _number(f"{self.seed}/start/{place}")
        return Trial(place, start, parted.part("train"), parted.part("validation"), test)


def is_mostly_complete(cohort: Cohort) -> bool:
    """Whether at least 80 % of the patients hold every modality."""
    return len(cohort.holding(*cohort.modalities)) >= MOSTLY_COMPLETE * len(cohort)


def unpaired(cohort: Cohort, *, task: Task, seed: int) -> Cohort:
    """Leave every patient one modality: one of those they hold, in equal shares.

    Within each stratum of the outcome, who holds few modalities is dealt first, each to the
    modality that has fewest patients of this stratum so far, then fewest of all.
    """
    strata = _strata(cohort, task)
    order = sorted(
        zip(strata, cohort.records, strict=True),
        key=lambda pair: (pair[0], len(pair[1].modalities), _draw(pair[1], seed)),
    )
    in_stratum: Counter[tuple[int, str]] = Counter()
    in_all: Counter[str] = Counter()
    dealt: dict[str, str] = {}
    for stratum, record in order:
        chosen = min(
            record.modalities,
            key=lambda name: (in_stratum[stratum, name], in_all[name]),
        )
        in_stratum[stratum, chosen] += 1
        in_all[chosen] += 1
        dealt[record.patient_id] = chosen
    return cohort.keep(_with_only(record, dealt[record.patient_id]) for record in cohort.records)


def in_even_order(cohort: Cohort, *, task: Task, seed: int) -> Cohort:
    """The patients in a random order of which every beginning has the strata in proportion."""
    strata = _strata(cohort, task)
    sizes, seen = Counter(strata), Counter[int]()
    keyed: list[tuple[float, str, PatientRecord]] = []
    drawn = sorted((_draw(record, seed), index) for index, record in enumerate(cohort.records))
    for draw, index in drawn:
        stratum = strata[index]
        keyed.append(((seen[stratum] + 0.5) / sizes[stratum], draw, cohort.records[index]))
        seen[stratum] += 1
    return cohort.keep(record for _, _, record in sorted(keyed, key=lambda key: key[:2]))


def _with_only(record: PatientRecord, modality: str) -> PatientRecord:
    return replace(record, modalities={modality: record.modalities[modality]})


def _cross_validated(cohort: Cohort, folds: int, *, fold: int, task: Task, seed: int) -> Cohort:
    """Mark one fold as test, and split the others into training and validation."""
    strata = _strata(cohort, task)
    order = sorted(zip(strata, cohort.records, strict=True), key=lambda pair: (pair[0], _draw(pair[1], seed)))
    tested = {record.patient_id for index, (_, record) in enumerate(order) if index % folds == fold - 1}
    validation = VALIDATION_SHARE / (1 - 1 / folds)
    marked = cohort.keep(
        replace(record, part="test" if record.patient_id in tested else None) for record in cohort.records
    )
    split = Split(train=1 - validation, validation=validation, test=0)
    return split_by_patient(marked, split, task=task, seed=_number(f"{seed}/fold/{fold}"))


def _strata(cohort: Cohort, task: Task) -> Sequence[int]:
    outcomes = collate(cohort.records, {}).outcomes
    task.check_outcomes(outcomes)
    return task.strata(outcomes).tolist()


def _draw(record: PatientRecord, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{record.patient_id}".encode()).hexdigest()


def _number(text: str) -> int:
    """A seed out of a text, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
