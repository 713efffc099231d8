"""Areas, rates and bounds: what an attack comes to, over and over again with other patients drawn."""

from collections.abc import Sequence
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


def area_over_models(
    scores: Float[np.ndarray, "M N"], member: Bool[np.ndarray, "M N"], *, seed: int
) -> Estimate:
    """Mean of the area over M models, and its interval from resampling the N patients.

    A patient who was drawn k times counts k times against every model.

    Args:
        scores: What an attack says of every patient against every model.
        member: Who trained each model.
        seed: Another seed draws others.
    """
    drawn = _draws(scores.shape[1], seed=seed)
    each = [area(own, who, drawn) for own, who in zip(scores, member, strict=True)]
    return _estimate(np.mean(each, axis=0))


def rate_over_models(
    scores: Float[np.ndarray, "M N"], member: Bool[np.ndarray, "M N"], *, seed: int
) -> Estimate:
    """The rate at few alarms with one threshold for M models; else as `area_over_models`.

    One model has few strangers, and a threshold that lets one of a hundred pass would be a matter of luck.
    """
    drawn = np.tile(_draws(scores.shape[1], seed=seed), len(scores))
    return _estimate(rate_at_few_alarms(scores.ravel(), member.ravel(), drawn))


def area_within(
    groups: Sequence[tuple[Float[np.ndarray, "G"], Bool[np.ndarray, "G"]]], *, seed: int
) -> Estimate:
    """The area over pairs of a member and a stranger of one group, and its interval.

    Args:
        groups: Scores and membership of the patients of each group.
        seed: Another seed draws others.
    """
    right, pairs = np.zeros(RESAMPLES + 1), np.zeros(RESAMPLES + 1)
    for place, (scores, member) in enumerate(groups):
        drawn = _draws(len(scores), seed=seed + place)
        own = (drawn[:, member].sum(axis=1)) * (drawn[:, ~member].sum(axis=1))
        right += np.nan_to_num(area(scores, member, drawn)) * own
        pairs += own
    return _estimate(np.divide(right, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))


def mean_of(values: Float[np.ndarray, "N"], *, seed: int) -> Estimate:
    """Mean over N updates, and its interval from resampling them."""
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


def _draws(patients: int, *, seed: int) -> Float[np.ndarray, "R N"]:
    """How often each patient is drawn; the first row is the patients themselves."""
    drawn = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), size=RESAMPLES)
    return np.concatenate([np.ones((1, patients)), drawn])


def _estimate(values: Float[np.ndarray, "R"]) -> Estimate:
    """The first number, and the middle 95 % of the others."""
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))


def _by_score(scores: np.ndarray, member: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many members and how many strangers have each score, from the lowest, for every resample."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)
    sorted_weights, is_member = drawn[:, order], member[order]
    return (
        np.add.reduceat(sorted_weights * is_member, starts, axis=1),
        np.add.reduceat(sorted_weights * ~is_member, starts, axis=1),
    )
