"""Dealing a cohort out to hospitals: a partition, unpaired, repeatable, in the shares asked for."""

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lego_core.datasets import Synthetic
from lego_core.errors import DataError
from lego_core.partition import deal
from lego_core.records import Cohort, Measurement, ModalitySchema, Outcome, PatientRecord
from lego_core.simulation import HospitalGroup, Simulation
from lego_core.split import Split
from lego_core.tasks import Classification, Survival

NAMES = ("blood", "scan", "notes")
TASK = Survival()


def make_patient(
    number: int, *, holds: tuple[str, ...] = NAMES, event: bool = False, hospital: str | None = None
) -> PatientRecord:
    measured = {name: Measurement(torch.full((1, 2), float(number))) for name in holds}
    return PatientRecord(f"p{number}", measured, Outcome((float(number), float(event))), hospital)


def make_cohort(records: list[PatientRecord]) -> Cohort:
    schemas = {name: ModalitySchema(layout="table", features=("a", "b")) for name in NAMES}
    return Cohort(tuple(records), schemas)


def make_simulation(groups: list[HospitalGroup], **changes: object) -> Simulation:
    return Simulation.model_validate({"data": Synthetic(), "groups": groups, **changes})


def ids(cohort: Cohort) -> list[str]:
    return [record.patient_id for record in cohort.records]


def deal_it(cohort: Cohort, simulation: Simulation, *, seed: int = 0) -> dict[str, Cohort]:
    return deal(cohort, simulation, task=TASK, split=Split(), seed=seed)


def draw_cohort(number: int) -> Cohort:
    """A cohort of chance; made in the test, since the checks of shapes disturb strategies."""
    luck = np.random.default_rng(number)
    return make_cohort(
        [
            make_patient(
                number,
                holds=tuple(luck.permutation(NAMES)[: luck.integers(1, 4)].tolist()),
                event=luck.random() < 0.3,
                hospital="uvwxyz"[luck.integers(6)],
            )
            for number in range(60)
        ]
    )


group_settings = st.fixed_dictionaries(
    {
        "hospitals": st.integers(1, 2),
        "share": st.floats(0.5, 2),
        "complete_test": st.booleans(),
    }
)
simulation_settings = st.fixed_dictionaries(
    {
        "groups": st.tuples(*(group_settings for _ in NAMES)),
        "size_skew": st.floats(0, 2),
        "label_skew": st.sampled_from([0.0, 0.3, 1.0]),
    }
)


def unpaired(groups: tuple[dict[str, object], ...], **changes: object) -> Simulation:
    named = zip(NAMES, groups, strict=True)
    return make_simulation(
        [HospitalGroup.model_validate({"name": n, "modalities": (n,), **own}) for n, own in named], **changes
    )


everywhere = settings(max_examples=25, deadline=None)


@everywhere
@given(number=st.integers(0, 10_000), drawn=simulation_settings, seed=st.integers(0, 5))
def test_every_patient_goes_to_exactly_one_hospital(number: int, drawn: dict[str, Any], seed: int) -> None:
    cohort, simulation = draw_cohort(number), unpaired(**drawn)
    dealt = deal_it(cohort, simulation, seed=seed)

    everyone = [patient for own in dealt.values() for patient in ids(own)]
    assert sorted(everyone) == sorted(ids(cohort))
    assert len(dealt) == simulation.num_hospitals


@everywhere
@given(number=st.integers(0, 10_000), drawn=simulation_settings)
def test_unpaired_hospitals_hold_one_modality_for_training_and_validation(
    number: int, drawn: dict[str, Any]
) -> None:
    cohort, simulation = draw_cohort(number), unpaired(**drawn)
    dealt = deal_it(cohort, simulation)

    for group in simulation.groups:
        for name in group.names:
            for record in dealt[name].records:
                if record.part != "test" or not group.complete_test:
                    assert tuple(record.modalities) == group.modalities


@everywhere
@given(number=st.integers(0, 10_000), drawn=simulation_settings, order=st.randoms())
def test_the_deal_does_not_depend_on_the_order_of_records(
    number: int, drawn: dict[str, Any], order: Random
) -> None:
    cohort, simulation = draw_cohort(number), unpaired(**drawn)
    shuffled = list(cohort.records)
    order.shuffle(shuffled)

    first, second = deal_it(cohort, simulation), deal_it(cohort.keep(shuffled), simulation)

    for name, own in first.items():
        parts = {record.patient_id: record.part for record in own.records}
        assert parts == {record.patient_id: record.part for record in second[name].records}


@everywhere
@given(number=st.integers(0, 10_000), seed=st.integers(0, 5), skew=st.sampled_from([0.0, 1.0]))
def test_whole_hospitals_stay_together(number: int, seed: int, skew: float) -> None:
    cohort = draw_cohort(number)
    groups = [HospitalGroup(name="all", modalities=NAMES, hospitals=3)]

    dealt = deal_it(cohort, make_simulation(groups, by="hospital", size_skew=skew), seed=seed)

    homes = [{record.hospital for record in own.records} for own in dealt.values()]
    assert sum(len(own) for own in homes) == len({record.hospital for record in cohort.records})
    assert sorted(patient for own in dealt.values() for patient in ids(own)) == sorted(ids(cohort))


@everywhere
@given(shares=st.lists(st.floats(0.3, 3), min_size=2, max_size=4), events=st.integers(20, 80))
def test_sizes_and_events_follow_the_shares(shares: list[float], events: int) -> None:
    cohort = make_cohort([make_patient(number, event=number < events) for number in range(200)])
    groups = [
        HospitalGroup(name=f"h{place}", modalities=("blood",), share=share)
        for place, share in enumerate(shares)
    ]

    dealt = deal_it(cohort, make_simulation(groups))

    for own, share in zip(dealt.values(), shares, strict=True):
        expected = share / sum(shares)
        assert len(own) == pytest.approx(200 * expected, abs=2)
        seen = sum(record.outcome.values[1] for record in own.records)
        assert seen == pytest.approx(events * expected, abs=2)


def test_patients_go_where_something_of_theirs_is_measured() -> None:
    patients = [make_patient(n, holds=("scan",) if n % 2 else ("blood", "scan")) for n in range(60)]
    groups = [HospitalGroup(name="b", modalities=("blood",)), HospitalGroup(name="s", modalities=("scan",))]

    dealt = deal_it(make_cohort(patients), make_simulation(groups))

    assert {name: len(own) for name, own in dealt.items()} == {"b": 30, "s": 30}
    assert all("blood" in record.modalities for record in dealt["b"].records)


def test_patients_who_have_nothing_that_is_measured_are_left_out() -> None:
    patients = [make_patient(n, holds=("notes",) if n < 10 else ("blood",)) for n in range(40)]

    dealt = deal_it(make_cohort(patients), make_simulation([HospitalGroup(name="b", modalities=("blood",))]))

    assert len(dealt["b"]) == 30


def test_hospitals_of_a_group_are_numbered_and_a_single_one_is_not() -> None:
    groups = [
        HospitalGroup(name="city", modalities=("blood",), hospitals=2),
        HospitalGroup(name="country", modalities=("scan",)),
    ]

    dealt = deal_it(make_cohort([make_patient(n) for n in range(30)]), make_simulation(groups))

    assert list(dealt) == ["city-1", "city-2", "country"]


def test_size_skew_one_makes_the_largest_twice_the_smallest() -> None:
    groups = [HospitalGroup(name="h", modalities=("blood",), hospitals=3)]

    dealt = deal_it(make_cohort([make_patient(n) for n in range(90)]), make_simulation(groups, size_skew=1.0))

    assert [len(own) for own in dealt.values()] == [40, 30, 20]


def test_label_skew_one_sorts_patients_by_outcome() -> None:
    groups = [HospitalGroup(name="h", modalities=("blood",), hospitals=2)]
    cohort = make_cohort([make_patient(n, event=n % 2 == 0) for n in range(40)])

    dealt = deal_it(cohort, make_simulation(groups, label_skew=1.0))

    events = [Counter(record.outcome.values[1] for record in own.records) for own in dealt.values()]
    assert events == [Counter({0.0: 20}), Counter({1.0: 20})]


def test_complete_test_patients_keep_every_modality() -> None:
    groups = [HospitalGroup(name="h", modalities=("blood",), complete_test=True)]

    own = deal_it(make_cohort([make_patient(n) for n in range(40)]), make_simulation(groups))["h"]

    assert {tuple(record.modalities) for record in own.part("test").records} == {NAMES}
    assert {tuple(record.modalities) for record in own.part("train").records} == {("blood",)}
    assert own.modalities == NAMES


def test_a_group_may_have_a_split_of_its_own() -> None:
    only_test = Split(train=0, validation=0, test=1)
    groups = [
        HospitalGroup(name="a", modalities=("blood",)),
        HospitalGroup(name="b", modalities=NAMES, split=only_test),
    ]

    dealt = deal_it(make_cohort([make_patient(n) for n in range(40)]), make_simulation(groups))

    assert Counter(record.part for record in dealt["a"].records) == {"train": 14, "validation": 3, "test": 3}
    assert Counter(record.part for record in dealt["b"].records) == {"test": 20}


def test_hospital_sizes_count_only_patients_who_have_what_the_group_measures() -> None:
    patients = [make_patient(n, holds=("blood",), hospital="large") for n in range(50)]
    patients += [make_patient(50 + n, holds=("scan",), hospital="small") for n in range(10)]
    groups = [HospitalGroup(name="s", modalities=("scan",)), HospitalGroup(name="b", modalities=("blood",))]

    dealt = deal_it(make_cohort(patients), make_simulation(groups, by="hospital"))

    assert {name: len(own) for name, own in dealt.items()} == {"s": 10, "b": 50}


def test_every_site_gets_a_real_hospital_even_if_its_share_is_tiny() -> None:
    sizes = {"u": 90, "v": 5, "w": 3}
    patients = [home for home, size in sizes.items() for _ in range(size)]
    cohort = make_cohort([make_patient(n, hospital=home) for n, home in enumerate(patients)])
    groups = [
        HospitalGroup(name="large", modalities=("blood",), share=100),
        HospitalGroup(name="tiny", modalities=("scan",), share=0.001, hospitals=2),
    ]

    dealt = deal_it(cohort, make_simulation(groups, by="hospital"))

    assert [len(own) for own in dealt.values()] == [90, 5, 3]


@pytest.mark.parametrize("homes", [("u", "v"), ("u", "v", None, "w")])
def test_dealing_hospitals_needs_enough_of_them_and_one_for_each_patient(
    homes: tuple[str | None, ...],
) -> None:
    patients = [make_patient(n, hospital=homes[n % len(homes)]) for n in range(24)]
    groups = [HospitalGroup(name="h", modalities=("blood",), hospitals=3)]

    with pytest.raises(DataError, match=r"makes 3 sites of whole hospitals; the data name [23] hospitals"):
        deal_it(make_cohort(patients), make_simulation(groups, by="hospital"))


def test_a_hospital_without_patients_is_refused() -> None:
    groups = [HospitalGroup(name="h", modalities=("blood",), hospitals=3)]

    with pytest.raises(DataError, match="Hospital 'h-3' gets none of the 2 patients"):
        deal_it(make_cohort([make_patient(1), make_patient(2)]), make_simulation(groups))


def test_a_modality_that_the_data_lack_is_refused() -> None:
    groups = [HospitalGroup(name="h", modalities=("genes",))]

    with pytest.raises(DataError, match=r"hospitals hold \['genes'\], and the data have"):
        deal_it(make_cohort([make_patient(1), make_patient(2)]), make_simulation(groups))


def test_two_hospitals_cannot_share_a_name() -> None:
    groups = [
        HospitalGroup(name="h", modalities=("blood",), hospitals=2),
        HospitalGroup(name="h-2", modalities=("scan",)),
    ]

    with pytest.raises(ValidationError, match="two hospitals share a name"):
        make_simulation(groups)


def test_whole_hospitals_cannot_be_sorted_by_outcome() -> None:
    with pytest.raises(ValidationError, match=r"label-skew 0\.5 sorts patients"):
        make_simulation([HospitalGroup(name="h", modalities=("blood",))], by="hospital", label_skew=0.5)


def test_outcomes_of_another_task_are_refused():
    cohort = make_cohort([make_patient(number) for number in range(9)])
    simulation = make_simulation([HospitalGroup(name="one", modalities=("blood",))])

    with pytest.raises(DataError, match="Outcomes have 2 columns, and task 'classification' reads 1"):
        deal(cohort, simulation, task=Classification(classes=("no", "yes")), split=Split(), seed=0)
