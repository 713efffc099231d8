"""How well survival curves fit a site's patients: the numbers and the points of the charts.

Days are taken from the agreed bin edges alone, never from a patient, so that charts of
several sites share their axis and no single follow-up time shows.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from lego_core.small_cells import SMALLEST_GROUP, shown_steps
from lego_core.tasks._groups import groups_in_order, shown

NUM_CURVE_POINTS = 21
NUM_BRIER_DAYS = 20
MOST_CALIBRATION_GROUPS = 5
TERTILES = ("low risk", "middle risk", "high risk")

Days = Float[np.ndarray, "days"]


def describe_survival(
    predictions: Float[np.ndarray, "B K"],
    outcomes: Float[np.ndarray, "B 2"],
    reference: Float[np.ndarray, "N 2"],
    *,
    edges_days: tuple[float, ...],
    smallest: int,
) -> dict[str, Any]:
    """Compare predicted survival with what was observed.

    Returns:
        `patients`, `events`: counts; `events` is None if fewer than `smallest` were seen or
            were not.
        `integrated_brier`: Brier score weighted by the inverse probability of censoring,
            averaged over time up to the last edge; None with a sentence in
            `integrated_brier_reason` if it cannot be computed.
        `calibration`: `horizon_days` (the middle edge) and `groups`, by rising predicted
            survival: `patients`, mean `predicted` and Kaplan-Meier `observed` survival
            (None if nobody of the group was followed so far).
        `kaplan_meier`: `days` and, for thrice `smallest` patients or more, `groups` (tertiles of risk, low
            to high): `name`, `patients`, and per day `survival` and `at_risk`, None where
            fewer than `smallest` were still followed, or had left since the last day with numbers.

    Source:
        Graf et al. "Assessment and comparison of prognostic classification schemes for
        survival data." Statistics in Medicine 18, 1999 (integrated Brier score).
        Kaplan, Meier. JASA 53, 1958. doi:10.1080/01621459.1958.10501452.
    """
    times, events = outcomes[:, 0], outcomes[:, 1] == 1
    score, reason = _integrated_brier(
        predictions, outcomes, reference, edges_days=edges_days, smallest=smallest
    )
    large_enough = min(events.sum(), (~events).sum()) >= smallest
    return {
        "patients": shown(len(times), smallest=smallest),
        "events": int(events.sum()) if large_enough else None,
        "integrated_brier": score,
        "integrated_brier_reason": reason,
        "calibration": _calibration(predictions, times, events, edges_days=edges_days, smallest=smallest),
        "kaplan_meier": _curves_by_risk(
            -predictions.sum(axis=1), times, events, edges_days=edges_days, smallest=smallest
        ),
    }


def _integrated_brier(
    predictions: Float[np.ndarray, "B K"],
    outcomes: Float[np.ndarray, "B 2"],
    reference: Float[np.ndarray, "N 2"],
    *,
    edges_days: tuple[float, ...],
    smallest: int,
) -> tuple[float | None, str | None]:
    horizon = edges_days[-1]
    if min(len(outcomes), len(reference)) < smallest:
        few = "ten" if smallest == SMALLEST_GROUP else smallest
        return None, f"there are fewer than {few} test or training patients"
    if min(outcomes[:, 0].max(), reference[:, 0].max()) <= horizon:
        return None, f"no test or no training patient was followed beyond day {horizon:.0f}, the last edge"
    days = np.linspace(0, horizon, NUM_BRIER_DAYS + 1)[1:]
    days = days[days >= outcomes[:, 0].min()]
    if len(days) < 2:
        return None, f"no test patient was followed for less than day {horizon:.0f}, the last edge"
    survival = _curves_at(days, predictions, edges_days=edges_days)
    test, train = (_observed_until(horizon, table) for table in (outcomes, reference))
    if not (test["event"].any() and train["event"].any()):
        return None, f"too few events were seen until day {horizon:.0f}, the last edge"
    from sksurv.metrics import integrated_brier_score  # slow to import

    return float(integrated_brier_score(train, test, survival, days)), None


def _observed_until(horizon: float, outcomes: Float[np.ndarray, "B 2"]) -> np.ndarray:
    """Call patients with a later event censored, since what comes after the horizon is not judged."""
    times, events = outcomes[:, 0], outcomes[:, 1] == 1
    from sksurv.util import Surv  # slow to import

    return Surv.from_arrays(events & (times <= horizon), times)


def _curves_at(
    days: Days, predictions: Float[np.ndarray, "B K"], *, edges_days: tuple[float, ...]
) -> np.ndarray:
    """Predicted survival (B, days), linear between the ends of bins."""
    known_days = np.array([0.0, *edges_days])
    return np.stack([np.interp(days, known_days, [1.0, *curve[:-1]]) for curve in predictions])


def _calibration(
    predictions: Float[np.ndarray, "B K"],
    times: Float[np.ndarray, "B"],
    events: Bool[np.ndarray, "B"],
    *,
    edges_days: tuple[float, ...],
    smallest: int,
) -> dict[str, Any]:
    middle = (len(edges_days) - 1) // 2
    horizon, predicted = edges_days[middle], predictions[:, middle]
    groups = [
        {
            "patients": len(group),
            "predicted": float(predicted[group].mean()),
            "observed": _observed_at(horizon, times[group], events[group]),
        }
        for group in groups_in_order(predicted, at_most=MOST_CALIBRATION_GROUPS, smallest=smallest)
    ]
    return {"horizon_days": horizon, "groups": groups}


def _observed_at(day: float, times: Float[np.ndarray, "B"], events: Bool[np.ndarray, "B"]) -> float | None:
    survival = float(_kaplan_meier(np.array([day]), times, events)[0])
    return survival if survival == 0 or times.max() >= day else None


def _curves_by_risk(
    risk: Float[np.ndarray, "B"],
    times: Float[np.ndarray, "B"],
    events: Bool[np.ndarray, "B"],
    *,
    edges_days: tuple[float, ...],
    smallest: int,
) -> dict[str, Any]:
    days = np.union1d(np.linspace(0, 2 * edges_days[-1], NUM_CURVE_POINTS), edges_days)
    groups = groups_in_order(risk, at_most=len(TERTILES), smallest=smallest)
    if len(groups) < len(TERTILES):
        groups = []
    curves = [
        {"name": name, "patients": len(group), **_curve(days, times[group], events[group], smallest=smallest)}
        for name, group in zip(TERTILES, groups, strict=False)
    ]
    return {"days": days.tolist(), "groups": curves}


def _curve(
    days: Days, times: Float[np.ndarray, "B"], events: Bool[np.ndarray, "B"], *, smallest: int
) -> dict[str, Any]:
    """Survival and patients at risk; between two days with numbers, nobody left or enough did."""
    at_risk = (times >= days[:, np.newaxis]).sum(axis=1).tolist()
    is_shown = shown_steps(at_risk, smallest=smallest)
    survival = _kaplan_meier(days, times, events).tolist()
    return {
        name: [value if visible else None for value, visible in zip(values, is_shown, strict=True)]
        for name, values in (("survival", survival), ("at_risk", at_risk))
    }


def _kaplan_meier(days: Days, times: Float[np.ndarray, "B"], events: Bool[np.ndarray, "B"]) -> Days:
    """Observed share still free of the event on each day, that day's events counted."""
    from sksurv.nonparametric import kaplan_meier_estimator  # slow to import

    observed_days, survival = kaplan_meier_estimator(events, times)[:2]
    return np.concatenate([[1.0], survival])[np.searchsorted(observed_days, days, side="right")]
