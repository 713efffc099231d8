"""Whether the forecast of mergeability was right, seen from what the merges did on test patients."""

from collections.abc import Sequence
from math import isnan
from typing import Literal, final

from lego_core._wording import count_of
from lego_core.component import Component
from lego_core.evaluation import PairMerge
from lego_core.mergeability import Measure, MergeabilityPair

FEWEST_PAIRS = 3  # two pairs are in one order or the other
CLEAR = 1 / 3  # two of three comparisons fall out the same way
NAMES: dict[Measure, str] = {
    "sign_dissimilarity": "SSD",
    "truncated_sign_dissimilarity": "TSSD",
    "cosine_dissimilarity": "cosine",
    "l2_distance": "L2",
}


@final
class RankAgreement(Component):
    """How well one measure ranked the pairs of blocks.

    Args:
        measure: The measure.
        tau: Kendall's rank correlation between nearness and gain, 1 if the nearer pair always
            gained more; absent if the measure or the gains do not differ.
        p_value: How often chance alone is as far from 0, either way.
        verdict: `right` if two of three comparisons or more came out as forecast, `wrong` if as
            many came out the other way, `unclear` otherwise.

    Source:
        Kendall. "A New Measure of Rank Correlation." Biometrika 1938.
    """

    measure: Measure
    tau: float | None
    p_value: float | None
    verdict: Literal["right", "wrong", "unclear"]


@final
class Hindsight(Component):
    """What came of the forecast.

    Args:
        agreement: One entry per measure; none if fewer than three pairs could be judged.
        sentence: The same for people.
    """

    agreement: tuple[RankAgreement, ...] = ()
    sentence: str


def look_back(forecasts: Sequence[MergeabilityPair], merges: Sequence[PairMerge]) -> Hindsight | None:
    """Compare the forecast of every pair with what merging it gained; None if nothing was forecast.

    Args:
        forecasts: How far every two blocks lie apart.
        merges: What merging two blocks gained over the better of them.
    """
    if not forecasts:
        return None
    gains = {frozenset((one.first, one.second)): one.gain.value for one in merges}
    judged = [pair for pair in forecasts if frozenset((pair.first, pair.second)) in gains]
    if len(judged) < FEWEST_PAIRS:
        return Hindsight(sentence=_too_few(len(judged)))
    reached = [gains[frozenset((pair.first, pair.second))] for pair in judged]
    agreement = tuple(
        _agreement(measure, [getattr(pair.forecast, measure) for pair in judged], reached)
        for measure in NAMES
    )
    return Hindsight(agreement=agreement, sentence=_said(agreement, pairs=len(judged)))


def _agreement(measure: Measure, distances: Sequence[float], gains: Sequence[float]) -> RankAgreement:
    from scipy.stats import kendalltau  # slow to import

    tau, p_value = map(float, kendalltau([-distance for distance in distances], gains))
    if isnan(tau):
        return RankAgreement(measure=measure, tau=None, p_value=None, verdict="unclear")
    is_clear = abs(tau) >= CLEAR - 1e-9
    verdict = "unclear" if not is_clear else "right" if tau > 0 else "wrong"
    return RankAgreement(measure=measure, tau=tau, p_value=p_value, verdict=verdict)


def _too_few(judged: int) -> str:
    if not judged:
        return (
            "Whether the forecast of mergeability was right could not be judged: no site scored the merge of "
            "two blocks on test patients with every modality."
        )
    return (
        f"Whether the forecast of mergeability was right could not be judged: {count_of(judged, 'pair')} of "
        f"blocks could be, and a ranking needs {FEWEST_PAIRS}."
    )


def _said(agreement: Sequence[RankAgreement], *, pairs: int) -> str:
    by_chance = all(one.p_value is None or one.p_value > 0.05 for one in agreement)
    verdicts = ", ".join(f"{NAMES[one.measure]} {_verdict(one)}" for one in agreement)
    return (
        f"The forecast of mergeability, looked at afterwards, ranked {pairs} pairs of blocks: {verdicts} "
        f"(Kendall's tau and p).{' So few pairs can fall into such an order by chance.' if by_chance else ''}"
    )


def _verdict(one: RankAgreement) -> str:
    said = "could not be judged" if one.verdict == "unclear" else one.verdict
    return said if one.tau is None else f"{said} ({one.tau:+.2f}, {one.p_value:.2f})"
