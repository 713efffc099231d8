"""Area under the ROC curve, fast enough for a bootstrap, and its macro average."""

import numpy as np
from jaxtyping import Bool, Float

from lego_core.tasks._contract import Score


def area_under_roc(probabilities: Float[np.ndarray, "B"], positive: Bool[np.ndarray, "B"]) -> Score:
    """Share of (positive, negative) pairs in the right order; a tie counts half.

    The same number as the area under the empirical ROC curve, counted over pairs.

    Source:
        Hanley, McNeil. "The meaning and use of the area under a receiver operating
        characteristic (ROC) curve." Radiology 143, 1982. doi:10.1148/radiology.143.1.7063747.
    """
    negatives = np.sort(probabilities[~positive])
    positives = probabilities[positive]
    pairs = float(len(positives) * len(negatives))
    if pairs == 0:
        return Score(0.5, 0.0)
    below = np.searchsorted(negatives, positives, side="left").sum()
    below_or_equal = np.searchsorted(negatives, positives, side="right").sum()
    return Score(float(below + below_or_equal) / (2 * pairs), pairs)


def macro_area_under_roc(probabilities: Float[np.ndarray, "B N"], positive: Bool[np.ndarray, "B N"]) -> Score:
    """Mean area over the columns that have both positives and negatives; pairs add up."""
    scores = [area_under_roc(*column) for column in zip(probabilities.T, positive.T, strict=True)]
    counted = [score for score in scores if score.pairs]
    if not counted:
        return Score(0.5, 0.0)
    return Score(sum(score.value for score in counted) / len(counted), sum(score.pairs for score in counted))
