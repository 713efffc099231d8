"""Sums that sites add up: normalisation and event times."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lego_core._time_grid import count_times, counts_between, time_grid_days
from lego_core.errors import DataError, PlanError, ProtocolError, ShapeError
from lego_core.records import Cohort, Measurement, ModalitySchema, Outcome, Part, PatientRecord
from lego_core.statistics import FeatureStatistics, OutcomeStatistics, training_outcomes
from lego_core.tasks import Survival

FEATURES = ("creatinine", "sodium")
SCHEMAS = {"laboratory": ModalitySchema(layout="series", features=FEATURES)}
WHOLE_NUMBERS = st.integers(-1000, 1000).map(float) | st.just(float("nan"))


def cohort(*values: np.ndarray, part: Part | None = "train") -> Cohort:
    """One patient per array of rows by features."""
    records = (
        PatientRecord(
            str(number),
            {"laboratory": Measurement(torch.tensor(rows).float())},
            Outcome((1.0, 0.0)),
            part=part,
        )
        for number, rows in enumerate(values)
    )
    return Cohort(tuple(records), SCHEMAS)


def statistics_of(*values: np.ndarray) -> FeatureStatistics:
    return FeatureStatistics.of(cohort(*values), "laboratory")


def outcome_statistics(times: np.ndarray) -> OutcomeStatistics:
    number = torch.tensor(len(times), dtype=torch.float64)
    never = torch.zeros(1000).double()
    return OutcomeStatistics(
        number, torch.stack([0 * number, number]), count_times(torch.tensor(times)), never
    )


@settings(deadline=None)
@given(
    st.lists(
        arrays(np.float64, st.tuples(st.integers(1, 4), st.just(2)), elements=WHOLE_NUMBERS), max_size=8
    ),
    st.integers(0, 8),
)
def test_statistics_of_sites_add_up_to_those_of_all_patients(values: list[np.ndarray], cut: int) -> None:
    together = statistics_of(*values)

    added = statistics_of(*values[:cut]) + statistics_of(*values[cut:])

    torch.testing.assert_close(added.to_tensors(), together.to_tensors(), rtol=0, atol=0)


def test_mean_and_spread_are_those_of_measured_values() -> None:
    first, second = np.array([[1.0, np.nan], [3.0, 5.0]]), np.array([[np.nan, 9.0]])

    normalisation = statistics_of(first, second).normalisation()

    assert normalisation.mean.tolist() == [2.0, 7.0]
    assert normalisation.stddev.tolist() == [1.0, 2.0]


def test_a_small_spread_on_a_large_offset_is_found() -> None:
    values = 1e6 + np.random.default_rng(0).normal(scale=0.5, size=(4000, 2)).astype(np.float32)

    normalisation = statistics_of(*values.reshape(400, 10, 2)).normalisation()

    stored = values.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(normalisation.stddev, stored.std(axis=0), rtol=0.01)
    np.testing.assert_allclose(normalisation.mean, stored.mean(axis=0), rtol=1e-7)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3.7, 1e6 + 0.25, 1e30])
def test_a_constant_feature_has_spread_one(constant: float) -> None:
    normalisation = statistics_of(*np.full((1000, 1, 2), constant)).normalisation()

    assert normalisation.stddev.tolist() == [1, 1]
    np.testing.assert_allclose(normalisation.mean, constant, rtol=1e-6)


def test_a_feature_nobody_measured_has_mean_zero_and_spread_one() -> None:
    normalisation = statistics_of(np.array([[1.0, np.nan], [2.0, np.nan]])).normalisation()

    assert (normalisation.mean[1], normalisation.stddev[1]) == (0, 1)


def test_nobody_at_all_gives_mean_zero_and_spread_one() -> None:
    normalisation = statistics_of().normalisation()

    assert (normalisation.mean.tolist(), normalisation.stddev.tolist()) == ([0, 0], [1, 1])


def test_normalised_inputs_have_mean_zero_spread_one_and_zero_where_nothing_was_measured() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(50, 10, size=(200, 3, 2))
    values[rng.random(values.shape) < 0.3] = np.nan
    patients = cohort(*values, np.array([[40.0, 60.0]]))
    inputs = patients.batch().inputs["laboratory"]

    normalised = FeatureStatistics.of(patients, "laboratory").normalisation().normalise(inputs)

    measured = normalised.values[normalised.measured]
    assert measured.mean().item() == pytest.approx(0, abs=0.02)
    assert measured.std().item() == pytest.approx(1, abs=0.02)
    assert (normalised.values[~normalised.measured] == 0).all()


def test_a_value_thousands_of_spreads_away_is_taken_for_one_ten_spreads_away() -> None:
    normalisation = statistics_of(np.array([[-1.0, 0.0]]), np.array([[1.0, 2.0]])).normalisation()
    inputs = cohort(np.array([[5000.0, 1.5]])).batch().inputs["laboratory"]

    assert normalisation.normalise(inputs).values.tolist() == [[[10.0, 0.5]]]


@pytest.mark.parametrize("part", ["validation", "test"])
def test_patients_outside_training_are_not_counted(part: Part) -> None:
    patients = cohort(np.array([[1.0, 2.0]]), part=part)

    assert FeatureStatistics.of(patients, "laboratory").count.tolist() == [0, 0]
    assert training_outcomes(patients, num_columns=2).shape == (0, 2)


def test_patients_without_a_part_are_not_counted_by_guessing() -> None:
    patients = cohort(np.array([[1.0, 2.0]]), np.array([[1.0, 2.0]]), part=None)

    for count in (
        lambda: FeatureStatistics.of(patients, "laboratory"),
        lambda: training_outcomes(patients, num_columns=2),
    ):
        with pytest.raises(DataError, match="2 of 2 patients were not yet given a part of the split"):
            count()


def test_patients_without_the_modality_are_passed_over() -> None:
    other = PatientRecord("other", {}, Outcome((1.0, 0.0)), part="train")
    patients = cohort(np.array([[1.0, 2.0]]))

    counted = FeatureStatistics.of(patients.keep([*patients.records, other]), "laboratory")

    assert counted.count.tolist() == [1, 1]


def test_an_unknown_modality_is_answered_with_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"There is no modality 'lab' in this cohort\. It has: 'laboratory'"):
        FeatureStatistics.of(cohort(), "lab")


@pytest.mark.parametrize("infinite", [[[np.inf, 1.0]], [[np.inf, 1.0], [-np.inf, 1.0]]])
def test_infinite_values_are_named_by_their_feature(infinite: list[list[float]]) -> None:
    with pytest.raises(DataError, match="feature 'creatinine' holds infinite values"):
        statistics_of(np.array(infinite))


@pytest.mark.parametrize(
    ("features", "sentence"),
    [
        (
            ("creatinine", "potassium"),
            "of 2 and of 2 features .* feature 2 is 'sodium' in the one and 'potassium'",
        ),
        (("creatinine",), r"of 2 and of 1 features .* feature 2 is 'sodium' in the one and '\(none\)'"),
    ],
)
def test_statistics_of_different_features_are_not_added(features: tuple[str, ...], sentence: str) -> None:
    zeros = torch.zeros(len(features), dtype=torch.float64)

    with pytest.raises(ShapeError, match=sentence):
        statistics_of() + FeatureStatistics(features, zeros, zeros, zeros)


def test_statistics_survive_their_journey() -> None:
    own, times = statistics_of(np.array([[1.0, np.nan]])), outcome_statistics(np.array([3.0, 40.0]))

    arrived = FeatureStatistics.from_tensors(own.to_tensors(), features=FEATURES)
    arrived_times = OutcomeStatistics.from_tensors(times.to_tensors(), like=times)

    torch.testing.assert_close(arrived.to_tensors(), own.to_tensors())
    torch.testing.assert_close(arrived_times.to_tensors(), times.to_tensors())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"count": torch.zeros(3).double()}, r"arrived with the sizes .*\(3,\).* and this run expects"),
        ({"extra": torch.zeros(2).double()}, "arrived with the sizes .*'extra'"),
        (
            {"total": torch.tensor([1.0, torch.nan])},
            "Statistics 'total' arrived with values that are not finite",
        ),
    ],
)
def test_statistics_that_arrive_damaged_are_refused(change: dict[str, torch.Tensor], sentence: str) -> None:
    tensors = statistics_of().to_tensors() | change

    with pytest.raises(ProtocolError, match=sentence):
        FeatureStatistics.from_tensors(tensors, features=FEATURES)


def test_a_time_bin_holds_its_lower_edge() -> None:
    grid = time_grid_days()
    lower = grid[:-1].clone()

    assert count_times(lower).tolist() == [1.0] * 1000


def test_the_grid_goes_from_a_day_to_a_hundred_years_in_steps_of_one_percent() -> None:
    grid = time_grid_days()

    assert (grid[0], grid[1]) == (0, 1)
    assert grid[-1].item() == pytest.approx(36525)
    assert ((grid[2:] / grid[1:-1] - 1) < 0.0106).all()


def test_times_beyond_the_grid_fall_into_its_last_bin() -> None:
    assert count_times(torch.tensor([1e9]))[-1] == 1


@settings(deadline=None)
@given(st.lists(st.floats(0, 36000), min_size=8, max_size=60), st.integers(2, 8))
def test_quantiles_are_those_of_the_event_times_within_the_grid(times: list[float], groups: int) -> None:
    found = outcome_statistics(np.array(times)).event_time_quantiles(groups)

    order = np.quantile(times, np.arange(1, groups) / groups, method="inverted_cdf")
    assert np.all(np.diff(found) > 0)
    assert np.all(np.abs(np.array(found) - order) <= np.maximum(1, 0.0106 * order))


@settings(deadline=None)
@given(st.lists(st.floats(0, 5000), min_size=4, max_size=60), st.integers(0, 60))
def test_quantiles_of_sites_are_those_of_all_patients(times: list[float], cut: int) -> None:
    first, second = outcome_statistics(np.array(times[:cut])), outcome_statistics(np.array(times[cut:]))

    assert (first + second).event_time_quantiles(4) == outcome_statistics(
        np.array(times)
    ).event_time_quantiles(4)


def test_counts_that_a_secure_sum_returns_nearly_whole_give_the_same_quantiles() -> None:
    exact = outcome_statistics(np.linspace(10, 900, 40))
    noise = 1e-3 * torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = replace(exact, event_times=exact.event_times + noise)

    assert noisy.event_time_quantiles(4) == exact.event_time_quantiles(4)


def test_too_few_events_have_no_quantiles() -> None:
    with pytest.raises(PlanError, match="The group saw 3 events, and 4 time bins need at least 4"):
        outcome_statistics(np.array([1.0, 2.0, 3.0])).event_time_quantiles(4)


def test_hazards_are_the_share_of_those_still_there_who_have_their_event() -> None:
    times = torch.tensor([5.0, 50.0, 50.0, 200.0, 500.0, 500.0])
    seen = torch.tensor([True, True, False, True, False, True])
    counted = Survival().count_outcomes(torch.stack([times, seen.float()], dim=1))

    hazards = counted.hazards((100.0, 300.0))

    # by hand: 2 events of 6, 1 of 3, 1 of 2; half an event and half a non-event more
    assert hazards.tolist() == pytest.approx([2.5 / 7, 1.5 / 4, 1.5 / 3])


@given(times=arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 30000)), edge=st.floats(1, 20000))
def test_counts_between_edges_are_right_within_one_bin_of_the_grid(times: np.ndarray, edge: float) -> None:
    parts = counts_between(count_times(torch.tensor(times)), (edge,))

    width = 1.02 + 0.0107 * edge  # bins are at most a day or 1.06 % wide
    assert float(parts.sum()) == pytest.approx(len(times))
    assert (times < edge - width).sum() - 1e-6 <= float(parts[0]) <= (times < edge + width).sum() + 1e-6


def test_outcome_statistics_of_different_tasks_are_not_added() -> None:
    times = outcome_statistics(np.array([1.0]))
    none = torch.zeros(0).double()
    classes = OutcomeStatistics(times.num_patients, torch.ones(3).double(), none, none)

    with pytest.raises(ShapeError, match="of 2 categories and 1000 time bins cannot be added to those of 3"):
        times + classes
