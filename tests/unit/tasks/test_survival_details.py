"""Integrated Brier score, calibration and Kaplan-Meier curves, and what is withheld."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from lego_core.tasks import Survival
from lego_core.tasks._survival_details import _kaplan_meier

VECTORS = Path(__file__).parents[2] / "vectors"
EDGES = (100.0, 200.0, 400.0)
TASK = Survival(bin_edges_days=EDGES)


def patients(number: int, *, seed: int = 0, censored: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions that know something, and outcomes with follow-up from 1 to over 1000 days."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=number)
    death, leaving = (
        rng.exponential(300 * np.exp(-risk)) + 1,
        rng.exponential(300 / max(censored, 1e-9), number) + 1,
    )
    times, events = np.minimum(death, leaving), death <= leaving
    times[0], events[0] = 1001, False
    logits = torch.tensor(risk, dtype=torch.float32).unsqueeze(1).expand(number, 4) - 1
    return TASK.predict(logits), torch.tensor(np.stack([times, events], axis=1), dtype=torch.float32)


def test_the_product_limit_estimate_is_that_of_the_textbook() -> None:
    case = json.loads((VECTORS / "kaplan_meier.json").read_text())
    inputs = case["inputs"]

    survival = _kaplan_meier(
        np.array(inputs["days"], dtype=float),
        np.array(inputs["time"], dtype=float),
        np.array(inputs["event"]) == 1,
    )

    np.testing.assert_allclose(survival, case["expected"]["survival"], atol=5e-4)


def brier_by_hand(predictions: np.ndarray, seen: np.ndarray, reference: np.ndarray) -> float:
    """Graf's score, patient by patient, with a censoring curve as a plain product."""

    def staying(day: float) -> float:
        share = 1.0
        for time in sorted(set(reference[:, 0])):
            left = ((reference[:, 0] == time) & (reference[:, 1] == 0)).sum()
            died = ((reference[:, 0] == time) & (reference[:, 1] == 1)).sum()
            if time <= day and left:
                share *= 1 - left / ((reference[:, 0] >= time).sum() - died)
        return share

    days = [day for day in np.linspace(0, EDGES[-1], 21)[1:] if day >= seen[:, 0].min()]
    scores = []
    for day in days:
        total = 0.0
        for curve, (time, event) in zip(predictions, seen, strict=True):
            survival = np.interp(day, [0, *EDGES], [1, *curve[:-1]])
            if time <= day and event:
                total += survival**2 / staying(time)
            elif time > day:
                total += (1 - survival) ** 2 / staying(day)
        scores.append(total / len(seen))
    return float(np.trapezoid(scores, days) / (days[-1] - days[0]))


def test_the_integrated_brier_score_is_grafs() -> None:
    predictions, seen = patients(40)
    _, reference = patients(50, seed=1)

    details = TASK.details(predictions, seen, reference=reference)

    expected = brier_by_hand(predictions.double().numpy(), seen.double().numpy(), reference.double().numpy())
    assert details["integrated_brier"] == pytest.approx(expected, rel=1e-9)
    assert details["integrated_brier_reason"] is None


def test_without_censoring_no_brier_score_is_weighted() -> None:
    predictions, seen = patients(40, censored=0)
    seen[:, 1] = 1

    assert TASK.details(predictions, seen, reference=seen)["integrated_brier"] is not None


@pytest.mark.parametrize(
    ("kept_test", "kept_train", "last_day", "reason"),
    [
        (9, 50, 2000, "there are fewer than ten test or training patients"),
        (50, 0, 2000, "there are fewer than ten test or training patients"),
        (50, 9, 2000, "there are fewer than ten test or training patients"),
        (50, 50, 400, "no test or no training patient was followed beyond day 400, the last edge"),
    ],
)
def test_a_brier_score_that_cannot_be_computed_says_why(
    kept_test: int, kept_train: int, last_day: float, reason: str
) -> None:
    predictions, seen = patients(50)
    _, reference = patients(50, seed=1)
    seen[:, 0] = seen[:, 0].clamp(max=last_day)

    details = TASK.details(predictions[:kept_test], seen[:kept_test], reference=reference[:kept_train])

    assert details["integrated_brier"] is None
    assert details["integrated_brier_reason"] == reason


def test_a_patient_followed_longer_than_any_in_training_is_judged_up_to_the_last_edge() -> None:
    predictions, seen = patients(40)
    _, reference = patients(50, seed=1)
    reference[:, 0] = reference[:, 0].clamp(max=500)
    reference[reference[:, 0] == 500, 1] = 1

    details = TASK.details(predictions, seen, reference=reference)

    expected = brier_by_hand(predictions.double().numpy(), seen.double().numpy(), reference.double().numpy())
    assert seen[:, 0].max() > reference[:, 0].max()
    assert details["integrated_brier"] == pytest.approx(expected, rel=1e-9)


def test_a_brier_score_needs_somebody_followed_for_less_than_the_last_edge() -> None:
    predictions, seen = patients(20)
    seen[:, 0] += 2000

    details = TASK.details(predictions, seen, reference=patients(50)[1])

    assert (
        details["integrated_brier_reason"]
        == "no test patient was followed for less than day 400, the last edge"
    )


def test_calibration_compares_groups_of_ten_or_more_at_the_middle_edge() -> None:
    predictions, seen = patients(47)

    calibration = TASK.details(predictions, seen, reference=seen)["calibration"]

    assert calibration["horizon_days"] == 200
    assert [group["patients"] for group in calibration["groups"]] == [12, 12, 12, 11]
    predicted = [group["predicted"] for group in calibration["groups"]]
    assert predicted == sorted(predicted)


def test_observed_survival_is_the_share_alive_if_nobody_left() -> None:
    predictions, seen = patients(10, censored=0)
    seen[:, 1] = 1

    group = TASK.details(predictions, seen, reference=seen)["calibration"]["groups"][0]

    assert group["observed"] == pytest.approx((seen[:, 0] > 200).float().mean().item())


def test_nothing_is_observed_where_nobody_was_followed_so_far() -> None:
    predictions, seen = patients(10)
    seen[:, 0], seen[:, 1] = torch.arange(10.0) + 5, torch.arange(10) % 2
    seen[9, 1] = 0

    assert TASK.details(predictions, seen, reference=seen)["calibration"]["groups"][0]["observed"] is None


def test_curves_come_in_tertiles_of_risk_from_low_to_high() -> None:
    predictions, seen = patients(91)

    curves = TASK.details(predictions, seen, reference=seen)["kaplan_meier"]

    assert [(group["name"], group["patients"]) for group in curves["groups"]] == [
        ("low risk", 31), ("middle risk", 30), ("high risk", 30)
    ]  # fmt: skip


def test_patients_of_low_risk_survive_longer() -> None:
    predictions, seen = patients(910)

    curves = TASK.details(predictions, seen, reference=seen)["kaplan_meier"]

    at_day_100 = curves["days"].index(100.0)
    low, _, high = (group["survival"][at_day_100] for group in curves["groups"])
    assert low > high


@pytest.mark.parametrize("smallest", [10, 20])
def test_numbers_at_risk_never_differ_by_a_few_patients(smallest: int) -> None:
    predictions, seen = patients(200)

    details = TASK.details(predictions, seen, reference=seen, smallest=smallest)

    for group in details["kaplan_meier"]["groups"]:
        told = [count for count in group["at_risk"] if count is not None]
        steps = [before - after for before, after in pairwise(told)]
        assert len(told) > 1
        assert min(told) >= smallest
        assert not any(0 < step < smallest for step in steps)


def test_groups_are_as_large_as_is_asked_for() -> None:
    predictions, seen = patients(100)

    details = TASK.details(predictions, seen, reference=seen, smallest=40)

    assert [group["patients"] for group in details["calibration"]["groups"]] == [50, 50]
    assert details["kaplan_meier"]["groups"] == []
    assert TASK.details(predictions, seen, reference=seen, smallest=101)["patients"] is None


def test_days_of_the_curves_tell_nothing_about_patients() -> None:
    first, second = (
        TASK.details(*patients(60, seed=seed), reference=patients(60)[1])["kaplan_meier"]["days"]
        for seed in (1, 2)
    )

    assert first == second
    assert set(EDGES) <= set(first)


def test_a_curve_ends_where_fewer_than_ten_are_followed() -> None:
    predictions, seen = patients(60)

    curves = TASK.details(predictions, seen, reference=seen)["kaplan_meier"]

    for group in curves["groups"]:
        assert None in group["at_risk"]
        assert all(count is None or count >= 10 for count in group["at_risk"])
        assert [value is None for value in group["survival"]] == [count is None for count in group["at_risk"]]


def test_no_curve_is_drawn_for_tertiles_of_fewer_than_ten() -> None:
    predictions, seen = patients(29)

    assert TASK.details(predictions, seen, reference=seen)["kaplan_meier"]["groups"] == []


@pytest.mark.parametrize(("seen_events", "shown"), [(9, None), (10, 10), (20, 20), (21, None)])
def test_few_events_or_few_without_are_not_counted_aloud(seen_events: int, shown: int | None) -> None:
    predictions, seen = patients(30)
    seen[:, 1] = (torch.arange(30) < seen_events).float()

    assert TASK.details(predictions, seen, reference=seen)["events"] == shown
