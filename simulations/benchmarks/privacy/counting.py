"""Areas, rates and bounds: what an attack comes to, over and over again with other patients drawn."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import beta

RESAMPLES = 1000
FEW_ALARMS = 0.01  # share of strangers who may be taken for members


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and the middle 95 % of its resamples."""

    value: float
    low: float
    high: float


Measure = Callable[[Float[np.ndarray, "N"], Bool[np.ndarray, "N"], Float[np.ndarray, "R N"]], np.ndarray]


def area(
    scores: Float[np.ndarray, "N"], member: Bool[np.ndarray, "N"], drawn: Float[np.ndarray, "R N"]
) -> Float[np.ndarray, "R"]:
    """Area under the ROC curve of scores that should be higher for members; ties count half.

    Args:
        scores: One per patient.
        member: Who is a member.
        drawn: How often each patient was drawn, for each of R resamples.
    """
    members, strangers = _by_score(scores, member, drawn)
    below = strangers.cumsum(axis=1) - strangers / 2
    pairs = members.sum(axis=1) * strangers.sum(axis=1)
    return np.divide((members * below).sum(axis=1), pairs, out=np.full(len(drawn), np.nan), where=pairs > 0)


def rate_at_few_alarms(
    scores: Float[np.ndarray, "N"], member: Bool[np.ndarray, "N"], drawn: Float[np.ndarray, "R N"]
) -> Float[np.ndarray, "R"]:
    """Share of members found where at most one stranger in a hundred is taken for one.

    Args:
        scores: One per patient; higher for members.
        member: Who is a member.
        drawn: How often each patient was drawn, for each of R resamples.
    """
    members, strangers = (part[:, ::-1] for part in _by_score(scores, member, drawn))
    alarms = strangers.cumsum(axis=1) / np.maximum(strangers.sum(axis=1, keepdims=True), 1)
    found = members.cumsum(axis=1) / np.maximum(members.sum(axis=1, keepdims=True), 1)
    return np.where(alarms <= FEW_ALARMS, found, 0.0).max(axis=1)


def over_patients(
    measure: Measure, scores: Float[np.ndarray, "M N"], member: Bool[np.ndarray, "M N"], *, seed: int
) -> Estimate:
    """Mean of a measure over M models, and its interval from resampling the N patients.

    A patient who was drawn k times counts k times against every model.

    Args:
        measure: `area` or `rate_at_few_alarms`.
        scores: What an attack says of every patient against every model.
        member: Who trained each model.
        seed: Another seed draws others.
    """
    patients = scores.shape[1]
    drawn = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=RESAMPLES)
    drawn = np.concatenate([np.ones((1, patients)), drawn])  # the first is the patients themselves
    means = np.mean([measure(*pair, drawn) for pair in zip(scores, member, strict=True)], axis=0)
    low, high = np.nanquantile(means[1:], [0.025, 0.975])
    return Estimate(float(means[0]), float(low), float(high))


def mean_of(values: Float[np.ndarray, "N"], *, seed: int) -> Estimate:
    """Mean over N patients, and its interval from resampling them."""
    rows = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[rows].mean(axis=1), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high))


def least_share(successes: int, trials: int, *, level: float = 0.95) -> float:
    """The one-sided lower bound on a share: with a smaller one, so many successes are too rare.

    Args:
        successes: How often it went well.
        trials: How often it was tried.
        level: How sure the bound is.

    Source:
        Clopper, Pearson. "The Use of Confidence or Fiducial Limits Illustrated in the Case of
        the Binomial." Biometrika 26(4), 1934. doi:10.1093/biomet/26.4.404.
    """
    return float(beta.ppf(1 - level, successes, trials - successes + 1)) if successes else 0.0


def _by_score(scores: np.ndarray, member: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many members and how many strangers have each score, from the lowest, for every resample."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    sorted_weights, is_member = drawn[:, order], member[order]
    return (
        np.add.reduceat(sorted_weights * is_member, starts, axis=1),
        np.add.reduceat(sorted_weights * ~is_member, starts, axis=1),
    )
