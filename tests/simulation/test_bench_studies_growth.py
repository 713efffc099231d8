"""The study of what models cost as modalities are added."""

import pytest
import torch

from lego_core.records import Cohort
from lego_core.training import Trainer
from simulations.benchmarks.studies import Lab
from simulations.benchmarks.studies._cost import WAYS, Point, Way, made_up, measure
from simulations.benchmarks.studies.growth import ratio_of_slopes


@pytest.mark.parametrize(
    ("power", "expected"), [(0, None), (1, 1.0), (2, 13 / 5)], ids=["constant", "linear", "quadratic"]
)
def test_the_ratio_of_slopes_tells_linear_growth_from_others(power: int, expected: float | None) -> None:
    grown = {number: 7.0 + 2.0 * number**power for number in range(1, 9)}

    found = ratio_of_slopes(dict(reversed(grown.items())))

    assert found == (expected and pytest.approx(expected))


def test_an_odd_number_in_the_middle_belongs_to_both_slopes() -> None:
    assert ratio_of_slopes({1: 0.0, 2: 1.0, 3: 2.0, 4: 5.0, 5: 8.0}) == pytest.approx(3.0)


def point(lab: Lab, way: Way, modalities: int) -> Point:
    (outcome, *_) = [record.outcome for record in lab.trial.train.records]
    plan = lab.plan.model_copy(update={"modalities": {"one": lab.plan.modalities["one"]}})
    return Point(way, modalities, plan, lab.trial.train.schemas["one"], 1, (outcome,) * 6, lab.task)


def test_all_modalities_of_made_up_patients_have_the_size_of_one_but_not_its_values(lab: Lab) -> None:
    cohort = made_up(point(lab, "merge", 4))

    assert len(cohort) == 6
    assert cohort.modalities == ("modality-1", "modality-2", "modality-3", "modality-4")
    assert all(schema == lab.trial.train.schemas["one"] for schema in cohort.schemas.values())
    values = torch.stack([own.values for own in cohort.records[0].modalities.values()])
    assert values.shape == (4, 1, 3)
    assert len(values.unique()) == values.numel()


@pytest.mark.parametrize("way", WAYS)
def test_what_a_model_costs_is_measured_of_the_model(lab: Lab, way: Way) -> None:
    costs = [measure(point(lab, way, number)) for number in (1, 2, 3)]

    first, second, third = (cost.parameters for cost in costs)
    assert third - second == second - first > 0
    block = sum(weight.numel() for weight in lab.untrained("one").parameters())
    if way == "merge":
        assert (first, second) == (block, 2 * block)
    assert all(cost.predict_time > 0 and cost.epoch_time > 0 for cost in costs)


def test_the_sites_of_a_merge_hold_one_modality_each_and_those_of_fuse_all(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[str, ...]] = []

    def watched(self: Trainer, train: Cohort, *, seed: int) -> None:
        held.append(train.modalities)

    monkeypatch.setattr(Trainer, "fit", watched)
    for way in ("merge", "fuse"):
        held.clear()
        measure(point(lab, way, 2))
        expected = {("modality-1",), ("modality-2",)} if way == "merge" else {("modality-1", "modality-2")}
        assert set(held[1:]) == expected  # the first is the warm-up
        assert len(held[1:]) == 3 * len(expected)
