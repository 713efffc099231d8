"""How well probabilities of yes-or-no outcomes fit a site's patients: numbers and chart points."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from lego_core.small_cells import shown_parts
from lego_core.tasks._groups import groups_in_order, shown
from lego_core.tasks._ranking import area_under_roc

NUM_ROC_POINTS = 21
MOST_CALIBRATION_GROUPS = 10
SURE = 1e-7  # log-odds of a probability of exactly 0 or 1 are taken from here


def describe_columns(
    probabilities: Float[np.ndarray, "B N"],
    positive: Bool[np.ndarray, "B N"],
    *,
    names: tuple[str, ...],
    smallest: int,
    is_whole: bool = False,
) -> dict[str, Any]:
    """Compare predicted probabilities with what was observed, one column per name.

    Args:
        probabilities: What was predicted.
        positive: What was observed.
        names: Of the columns.
        smallest: Fewest patients behind anything that is shown.
        is_whole: Whether every patient has exactly one of the names, so that all but one tell the last.

    Returns:
        `patients`: their number. `average_precision`, `brier`: means over the names that are
            shown. `by_class`: per name None, if fewer than `smallest` patients have it or
            lack it, or if its number would give another one away, and otherwise
            `patients` (who have it), `auroc`, `average_precision`, `brier`;
            `calibration_slope`, `calibration_intercept`: of the logistic recalibration,
            1 and 0 at best (both None if probabilities part the patients fully or are all
            equal, since there is no such fit);
            `calibration`: groups by rising probability: `patients`, mean `predicted`, share
            `observed`;
            `roc`: `false_positive_rate` (21 points) and the highest `true_positive_rate` there.

    Source:
        Cox. "Two further applications of a model for binary regression." Biometrika 45, 1958
        (recalibration). Brier. Monthly Weather Review 78, 1950.
    """
    counts = positive.sum(axis=0)
    may_show = np.minimum(counts, len(positive) - counts) >= smallest
    if is_whole:
        may_show = shown_parts(counts, may_show, smallest=smallest)
    columns = zip(names, probabilities.T, positive.T, may_show, strict=True)
    by_class = {
        name: _describe(probability, chosen, smallest=smallest) if is_shown else None
        for name, probability, chosen, is_shown in columns
    }
    visible = [one for one in by_class.values() if one is not None]
    means = {
        key: float(np.mean([one[key] for one in visible])) if visible else None
        for key in ("average_precision", "brier")
    }
    return {"patients": shown(len(positive), smallest=smallest), **means, "by_class": by_class}


def _describe(
    probability: Float[np.ndarray, "B"], positive: Bool[np.ndarray, "B"], *, smallest: int
) -> dict[str, Any]:
    from torchmetrics.functional.classification import binary_average_precision  # slow to import

    slope, intercept = _recalibration(probability, positive)
    return {
        "patients": int(positive.sum()),
        "auroc": area_under_roc(probability, positive).value,
        "average_precision": float(binary_average_precision(*_as_tensors(probability, positive))),
        "brier": float(np.square(probability - positive).mean()),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "calibration": [
            {
                "patients": len(group),
                "predicted": float(probability[group].mean()),
                "observed": float(positive[group].mean()),
            }
            for group in groups_in_order(probability, at_most=MOST_CALIBRATION_GROUPS, smallest=smallest)
        ],
        "roc": _roc(probability, positive),
    }


def _recalibration(
    probability: Float[np.ndarray, "B"], positive: Bool[np.ndarray, "B"]
) -> tuple[float | None, float | None]:
    """Slope and intercept of the observed log-odds against the predicted ones."""
    bounded = probability.clip(SURE, 1 - SURE)
    log_odds = np.log(bounded) - np.log1p(-bounded)
    yes, no = log_odds[positive], log_odds[~positive]
    if no.max() <= yes.min() or yes.max() <= no.min():
        return None, None  # without overlap the best slope is infinite
    from sklearn.linear_model import LogisticRegression  # slow to import, and seldom needed

    fit = LogisticRegression(C=np.inf, solver="newton-cholesky").fit(log_odds[:, np.newaxis], positive)
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])


def _roc(probability: Float[np.ndarray, "B"], positive: Bool[np.ndarray, "B"]) -> dict[str, list[float]]:
    from torchmetrics.functional.classification import binary_roc  # slow to import

    false_positive, true_positive, _ = binary_roc(*_as_tensors(probability, positive))
    grid = np.linspace(0, 1, NUM_ROC_POINTS)
    return {
        "false_positive_rate": grid.tolist(),
        "true_positive_rate": np.interp(grid, false_positive.numpy(), true_positive.numpy()).tolist(),
    }


def _as_tensors(
    probability: Float[np.ndarray, "B"], positive: Bool[np.ndarray, "B"]
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(probability), torch.from_numpy(positive).long()
