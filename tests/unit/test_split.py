"""The split: by patient, in the same proportions everywhere, the same whoever repeats it."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lego_core import Cohort, Measurement, ModalitySchema, Outcome, PatientRecord, Split, split_by_patient
from lego_core.errors import DataError
from lego_core.records import Part
from lego_core.tasks import Classification

TASK = Classification(classes=("no", "yes"))
SPLIT = Split(train=0.6, validation=0.2, test=0.2)


def cohort(classes: list[int], *, part: Part | None = None) -> Cohort:
    records = tuple(
        PatientRecord(f"p{number}", {"a": Measurement(torch.ones(1, 1))}, Outcome((float(index),)), part=part)
        for number, index in enumerate(classes)
    )
    return Cohort(records, {"a": ModalitySchema(layout="table", features=("x",))})


def parted(patients: Cohort, *, split: Split = SPLIT, seed: int = 0) -> dict[str, str | None]:
    done = split_by_patient(patients, split, task=TASK, seed=seed)
    return {record.patient_id: record.part for record in done.records}


def test_shares_are_kept():
    counts = Counter(parted(cohort([0, 1] * 50)).values())

    assert counts == {"train": 60, "validation": 20, "test": 20}


def test_shares_are_kept_in_every_stratum():
    classes = [0] * 80 + [1] * 20

    parts = parted(cohort(classes))

    rare = Counter(parts[f"p{number}"] for number in range(80, 100))
    assert rare == {"train": 12, "validation": 4, "test": 4}


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60), st.integers(0, 5), st.randoms())
def test_order_of_patients_does_not_matter(classes, seed, chance):
    patients = cohort(classes)
    shuffled = list(patients.records)
    chance.shuffle(shuffled)

    assert parted(patients.keep(shuffled), seed=seed) == parted(patients, seed=seed)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=60))
def test_every_patient_stays_where_it_was_and_gets_a_part(classes):
    patients = cohort(classes)

    done = split_by_patient(patients, SPLIT, task=TASK, seed=0)

    assert [record.patient_id for record in done.records] == [r.patient_id for r in patients.records]
    assert {record.part for record in done.records} <= {"train", "validation", "test"}


@given(
    st.integers(1, 80), st.integers(0, 100).flatmap(lambda a: st.tuples(st.just(a), st.integers(0, 100 - a)))
)
def test_each_part_has_its_share_within_one_patient(count, shares):
    train, validation = shares
    split = Split(train=train / 100, validation=validation / 100, test=(100 - train - validation) / 100)

    counts = Counter(parted(cohort([0] * count), split=split).values())

    for part in ("train", "validation", "test"):
        assert abs(counts[part] - getattr(split, part) * count) <= 1 + 1e-6


def test_part_that_the_data_prescribe_is_kept():
    patients = cohort([0, 1] * 20)
    first = replace(patients.records[0], part="test")

    parts = parted(patients.keep([first, *patients.records[1:]]), split=Split(train=1, validation=0, test=0))

    assert parts["p0"] == "test"
    assert {part for name, part in parts.items() if name != "p0"} == {"train"}


def test_cohort_whose_parts_are_all_prescribed_is_left_alone():
    patients = cohort([0, 1], part="validation")

    assert split_by_patient(patients, SPLIT, task=TASK, seed=0) is patients


def test_same_seed_gives_the_same_split_and_another_seed_another():
    patients = cohort([0, 1] * 30)

    assert parted(patients, seed=1) == parted(patients, seed=1)
    assert parted(patients, seed=1) != parted(patients, seed=2)


def test_randomness_of_the_caller_is_left_alone():
    before = torch.get_rng_state()

    parted(cohort([0, 1] * 10))

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.2), (0.7, 0.2, 0.2), (0.0, 0.0, 0.0)])
def test_shares_that_do_not_add_up_are_refused(shares):
    train, validation, test = shares

    with pytest.raises(ValidationError, match=f"add up to {sum(shares):g} and must add up to 1"):
        Split(train=train, validation=validation, test=test)


def test_negative_share_is_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Split(train=1.2, validation=-0.2, test=0.0)


def test_outcomes_of_another_task_are_refused():
    with pytest.raises(DataError, match="Task 'classification': the outcomes of 1 of 3 patients do not fit"):
        parted(cohort([0, 1, 2], part="test"))
