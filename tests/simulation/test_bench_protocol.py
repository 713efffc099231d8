"""Who trains, who chooses and who is tested in a benchmark."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lego_core.datasets import Synthetic
from lego_core.datasets._synthetic_outcomes import SyntheticClass
from lego_core.records import Cohort, Measurement, ModalitySchema, Outcome, PatientRecord, collate
from lego_core.tasks import Classification, Survival
from simulations.benchmarks.protocol import Place, Protocol, is_mostly_complete, unpaired

TASK = Classification(classes=("no", "yes"))
TABLE = ModalitySchema(layout="table", features=("a",))
HELD = st.sets(st.sampled_from(["x", "y", "z"]), min_size=1)
PATIENTS = st.lists(st.tuples(HELD, st.booleans()), min_size=3, max_size=60)


def cohort_of(patients: list[tuple[set[str], bool]]) -> Cohort:
    records = tuple(
        PatientRecord(
            f"p{index}", {name: Measurement(torch.ones(1, 1)) for name in held}, Outcome((float(yes),))
        )
        for index, (held, yes) in enumerate(patients)
    )
    return Cohort(records, dict.fromkeys(["x", "y", "z"], TABLE))


def ids(cohort: Cohort) -> set[str]:
    return {record.patient_id for record in cohort.records}


@pytest.mark.parametrize("patients", [53, 290])
def test_every_patient_is_tested_exactly_once_per_repeat_of_a_cross_validation(patients: int) -> None:
    cohort = Synthetic(patients=patients).load()
    protocol = Protocol.for_cohort(patients, repeats=2, seed=0, quick=False)

    for repeat in (1, 2):
        trials = [
            protocol.trial(cohort, place, task=Survival())
            for place in protocol.places
            if place.repeat == repeat
        ]
        tested = Counter(record.patient_id for trial in trials for record in trial.test.records)
        assert len(trials) == 5
        assert tested == Counter(ids(cohort))


def test_no_patient_stands_in_two_parts_and_every_part_has_its_share() -> None:
    cohort = Synthetic(patients=300).load()
    protocol = Protocol(repeats=1, folds=5, trials_per_repeat=5)
    events = float(collate(cohort.records, {}).outcomes[:, 1].mean())

    for place in protocol.places:
        trial = protocol.trial(cohort, place, task=Survival())
        parts = (trial.train, trial.validation, trial.test)
        assert sum(len(part) for part in parts) == len(set.union(*(ids(part) for part in parts))) == 300
        assert [len(part) for part in parts] == pytest.approx([195, 45, 60], abs=2)
        for part in parts:
            share = float(collate(part.records, {}).outcomes[:, 1].mean())
            assert share == pytest.approx(events, abs=0.03)


def test_large_cohorts_are_split_70_15_15_and_each_time_in_another_way() -> None:
    cohort = Synthetic(patients=2000, outcome=SyntheticClass()).load()
    protocol = Protocol.for_cohort(len(cohort), repeats=None, seed=0, quick=False)
    trials = [protocol.trial(cohort, place, task=TASK) for place in protocol.places]

    assert len(trials) == 5
    for trial in trials:
        sizes = [len(part) for part in (trial.train, trial.validation, trial.test)]
        assert sizes == pytest.approx([1400, 300, 300], abs=2)
    assert len({frozenset(ids(trial.test)) for trial in trials}) == 5
    assert len({trial.seed for trial in trials}) == 5


def test_a_trial_is_the_same_whatever_the_order_of_the_patients() -> None:
    cohort = Synthetic(patients=80).load()
    protocol = Protocol(repeats=1, folds=5, trials_per_repeat=5)
    place = Place(1, 2)

    one = protocol.trial(cohort, place, task=Survival())
    other = protocol.trial(cohort.keep(reversed(cohort.records)), place, task=Survival())

    for part in ("train", "validation", "test"):
        assert ids(getattr(one, part)) == ids(getattr(other, part))


@given(patients=PATIENTS, seed=st.integers(0, 5))
def test_unpaired_leaves_every_patient_one_modality_of_their_own(
    patients: list[tuple[set[str], bool]], seed: int
) -> None:
    cohort = cohort_of(patients)
    dealt = unpaired(cohort, task=TASK, seed=seed)

    for before, after in zip(cohort.records, dealt.records, strict=True):
        assert before.patient_id == after.patient_id
        assert len(after.modalities) == 1
        assert after.modalities.keys() <= before.modalities.keys()


@given(labels=st.lists(st.booleans(), min_size=3, max_size=80), seed=st.integers(0, 5))
def test_unpaired_deals_equal_shares_in_all_and_of_every_outcome(labels: list[bool], seed: int) -> None:
    cohort = cohort_of([({"x", "y", "z"}, label) for label in labels])
    dealt = unpaired(cohort, task=TASK, seed=seed)

    for group in (
        dealt.records,
        *([r for r in dealt.records if r.outcome == Outcome((v,))] for v in (0.0, 1.0)),
    ):
        shares = Counter(name for record in group for name in record.modalities)
        sizes = [shares[name] for name in ("x", "y", "z")]
        assert max(sizes) - min(sizes) <= 1


def test_another_seed_deals_in_another_way() -> None:
    cohort = cohort_of([({"x", "y"}, index % 2 == 0) for index in range(40)])
    deals = [
        tuple(tuple(record.modalities) for record in unpaired(cohort, task=TASK, seed=seed).records)
        for seed in range(3)
    ]

    assert len(set(deals)) == 3


def test_only_complete_patients_are_tested_where_most_are_complete() -> None:
    every = {"x", "y", "z"}
    protocol = Protocol(repeats=1, folds=5, trials_per_repeat=5)
    mostly = cohort_of([(every if index % 10 else {"x"}, index % 2 == 0) for index in range(50)])
    rarely = cohort_of([(every if index % 2 else {"x"}, index % 3 == 0) for index in range(50)])

    tested = [
        record
        for place in protocol.places
        for record in protocol.trial(mostly, place, task=TASK).test.records
    ]

    assert is_mostly_complete(mostly)
    assert not is_mostly_complete(rarely)
    assert len(tested) == 45
    assert all(record.modalities.keys() == every for record in tested)
    assert sum(len(protocol.trial(rarely, place, task=TASK).test) for place in protocol.places) == 50
