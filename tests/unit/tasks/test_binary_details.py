"""Precision, Brier, recalibration and ROC points of yes-or-no outcomes, and what is withheld."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_curve

from lego_core.tasks import Classification, MultiLabel

BINARY = Classification(classes=("alive", "dead"))
NOBODY = torch.zeros(0, 1)


def patients(number: int, *, slope: float = 1.0, intercept: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Predicted log-odds, and outcomes whose true log-odds are a line of them."""
    rng = np.random.default_rng(0)
    log_odds = rng.normal(size=number)
    true = 1 / (1 + np.exp(-(intercept + slope * log_odds)))
    return log_odds, rng.random(number) < true


def describe(log_odds: np.ndarray, positive: np.ndarray) -> dict:
    predictions = BINARY.predict(torch.tensor(log_odds).unsqueeze(1))
    return BINARY.details(predictions, torch.tensor(positive).double().unsqueeze(1), reference=NOBODY)


def test_precision_and_brier_score_are_those_of_their_definitions() -> None:
    log_odds, positive = patients(200)
    probability = 1 / (1 + np.exp(-log_odds))

    details = describe(log_odds, positive)

    assert details["average_precision"] == pytest.approx(average_precision_score(positive, probability))
    assert details["brier"] == pytest.approx(np.mean((probability - positive) ** 2))
    assert details["patients"] == 200
    assert details["by_class"]["dead"]["patients"] == positive.sum()


def test_two_classes_are_described_by_the_second() -> None:
    assert list(describe(*patients(100))["by_class"]) == ["dead"]


def test_recalibration_solves_the_likelihood_equations() -> None:
    log_odds, positive = patients(300, slope=0.5, intercept=-0.7)

    one = describe(log_odds, positive)["by_class"]["dead"]

    fitted = 1 / (1 + np.exp(-(one["calibration_intercept"] + one["calibration_slope"] * log_odds)))
    assert np.sum(positive - fitted) == pytest.approx(0, abs=1e-3)
    assert np.sum((positive - fitted) * log_odds) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -1.0), (2.0, 1.0)])
def test_recalibration_finds_how_far_predictions_are_off(slope: float, intercept: float) -> None:
    one = describe(*patients(5000, slope=slope, intercept=intercept))["by_class"]["dead"]

    assert one["calibration_slope"] == pytest.approx(slope, abs=0.15)
    assert one["calibration_intercept"] == pytest.approx(intercept, abs=0.15)


@pytest.mark.parametrize("factor", [0.0, 1.0, -1.0])
def test_there_is_no_recalibration_of_fully_parted_or_equal_probabilities(factor: float) -> None:
    positive = np.arange(40) >= 20

    one = describe(factor * (np.arange(40) - 19.5), positive)["by_class"]["dead"]

    assert one["calibration_slope"] is None
    assert one["calibration_intercept"] is None


def test_probabilities_of_zero_and_one_can_be_recalibrated() -> None:
    positive = np.arange(40) % 4 > 0
    log_odds = np.where(np.arange(40) % 3 > 0, 1000.0, -1000.0)

    one = describe(log_odds, positive)["by_class"]["dead"]

    assert np.isfinite(one["calibration_slope"])


def test_calibration_groups_hold_ten_patients_or_more() -> None:
    log_odds, positive = patients(57)

    groups = describe(log_odds, positive)["by_class"]["dead"]["calibration"]

    assert [group["patients"] for group in groups] == [12, 12, 11, 11, 11]
    assert sum(group["patients"] * group["observed"] for group in groups) == pytest.approx(positive.sum())


def test_the_roc_curve_gives_the_highest_rate_at_21_points() -> None:
    log_odds, positive = patients(200)

    roc = describe(log_odds, positive)["by_class"]["dead"]["roc"]

    false_positive, true_positive, _ = roc_curve(positive, log_odds)
    assert roc["false_positive_rate"] == pytest.approx(np.linspace(0, 1, 21).tolist())
    assert roc["true_positive_rate"][0] == max(true_positive[false_positive == 0])
    assert roc["true_positive_rate"][-1] == 1
    assert np.all(np.diff(roc["true_positive_rate"]) >= 0)


@pytest.mark.parametrize(("positives", "is_shown"), [(9, False), (10, True), (30, True), (31, False)])
def test_a_class_that_fewer_than_ten_have_or_lack_is_withheld(positives: int, is_shown: bool) -> None:
    log_odds, _ = patients(40)

    details = describe(log_odds, np.arange(40) < positives)

    assert (details["by_class"]["dead"] is not None) == is_shown
    assert (details["brier"] is not None) == is_shown


def test_means_are_taken_over_labels_that_are_shown() -> None:
    task = MultiLabel(labels=("common", "rare"))
    outcomes = torch.stack([torch.arange(40) % 2, torch.arange(40) < 3], dim=1).float()
    predictions = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))

    details = task.details(predictions, outcomes, reference=outcomes[:0])

    assert details["by_class"]["rare"] is None
    assert details["brier"] == details["by_class"]["common"]["brier"]


THREE = Classification(classes=("none", "mild", "severe"))


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ((40, 20, 12), ["none", "mild", "severe"]),
        ((40, 20, 4), ["none"]),  # 64 patients less 40 and 20 would be the 4
        ((40, 6, 4), ["none"]),
        ((40, 20, 0), ["none", "mild"]),
    ],
)
def test_class_that_would_give_a_small_one_away_is_withheld_too(
    counts: tuple[int, ...], shown: list[str]
) -> None:
    outcomes = torch.repeat_interleave(torch.arange(3.0), torch.tensor(counts)).unsqueeze(1)
    predictions = torch.rand(len(outcomes), 3, generator=torch.Generator().manual_seed(0)).softmax(dim=1)

    by_class = THREE.details(predictions, outcomes, reference=NOBODY)["by_class"]

    assert [name for name, one in by_class.items() if one is not None] == shown


def test_groups_are_as_large_as_is_asked_for() -> None:
    log_odds, positive = patients(100)
    predictions = BINARY.predict(torch.tensor(log_odds).unsqueeze(1))
    outcomes = torch.tensor(positive).double().unsqueeze(1)

    one = BINARY.details(predictions, outcomes, reference=NOBODY, smallest=30)["by_class"]["dead"]
    none = BINARY.details(predictions, outcomes, reference=NOBODY, smallest=60)["by_class"]["dead"]

    assert [group["patients"] for group in one["calibration"]] == [34, 33, 33]
    assert none is None
