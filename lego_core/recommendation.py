"""What a run recommends: chosen on validation patients, and against merging where it does not pay."""

from collections.abc import Sequence
from typing import final

from lego_core._wording import MODELS, count_of, signed_with_interval
from lego_core.component import Component
from lego_core.evaluation import EvaluationReport, Gain, Method, PooledScore


@final
class Recommendation(Component):
    """The model that a run recommends, and what speaks for it.

    Args:
        method: The kind of model.
        modality: Of which modality, if it is a block.
        sentence: The recommendation and its reason, for people.
        candidate: What was weighed against the best block; absent if nothing could be.
        gain: What the candidate gained over the best block, on complete validation patients.
        on_test: The same on complete test patients, looked at after the choice was made.
        afterwards: What came of the choice, for people; empty if nobody could look.
    """

    method: Method
    modality: str = ""
    sentence: str
    candidate: Method | None = None
    gain: Gain | None = None
    on_test: Gain | None = None
    afterwards: str = ""


def recommend(results: EvaluationReport, *, modalities: Sequence[str]) -> Recommendation:
    """Choose between the best block, the ensemble, the merge and the fused model.

    The candidate is what does best on complete validation patients, of up to three models that
    see every modality. It is recommended if its paired 95 % interval over the best block lies
    above zero and no block alone does as well on the same patients; otherwise a block is. The
    interval is not corrected for taking the best of three: where nothing is gained, chance may
    recommend it more often than once in forty times. Test patients have no say in it: they
    are looked at afterwards.

    Args:
        results: The pooled scores.
        modalities: The modalities of the run.
    """
    best = results.best_block
    if len(modalities) < 2:
        said = f"Recommended: the block {best}. The run has one modality, so there is nothing to merge."
        return Recommendation(method="block", modality=best, sentence=said)
    judged = [score for score in results.validation if score.paired_gain and score.pairs]
    together = [score for score in judged if score.method != "block"]
    if not together:
        said = f"Recommended: the best block, {best}. Nothing shows that merging pays: {_what_lacks(results)}"
        return Recommendation(method="block", modality=best, sentence=said)
    candidate = max(together, key=_value)
    if not candidate.paired_gain or candidate.paired_gain.low <= 0:
        return _choice(candidate, results, method="block", modality=best, sentence=_no_gain(candidate, best))
    alone = max((score for score in judged if score.method == "block"), key=_value, default=None)
    if alone and alone.value >= candidate.value:
        said = _no_need(candidate, alone)
        return _choice(alone, results, method="block", modality=alone.modalities[0], sentence=said)
    return _choice(candidate, results, method=candidate.method, sentence=_pays(candidate, best))


def _choice(
    candidate: PooledScore, results: EvaluationReport, *, method: Method, modality: str = "", sentence: str
) -> Recommendation:
    """The choice, and afterwards what the candidate did on test."""
    same = (candidate.method, candidate.modalities, "complete")
    tested = [s for s in results.scores if (s.method, s.modalities, s.patients) == same and s.pairs]
    on_test = tested[0].paired_gain if tested else None
    is_chosen = method == candidate.method
    return Recommendation(
        method=method,
        modality=modality,
        sentence=sentence,
        candidate=candidate.method,
        gain=candidate.paired_gain,
        on_test=on_test,
        afterwards=_afterwards(tested[0], on_test, is_chosen=is_chosen) if on_test else "",
    )


def _pays(candidate: PooledScore, best: str) -> str:
    return (
        f"Recommended: {_name(candidate)}. On {_patients(candidate, 'validation')} it gains "
        f"{_written(candidate.paired_gain)} over the best block, {best}."
    )


def _no_gain(candidate: PooledScore, best: str) -> str:
    gain = candidate.paired_gain
    hopeful = gain is not None and gain.value > 0
    verdict = "It cannot be shown that merging pays" if hopeful else "Merging does not pay here"
    return (
        f"Recommended: the best block, {best}. {verdict}: on {_patients(candidate, 'validation')} "
        f"{_name(candidate)}, the best that sees all of them, gains {_written(gain)} over it."
    )


def _no_need(candidate: PooledScore, alone: PooledScore) -> str:
    return (
        f"Recommended: {_name(alone)}. Merging does not pay here: on {_patients(alone, 'validation')} this "
        f"block alone reaches {alone.value:.3f}, and {_name(candidate)} {candidate.value:.3f}."
    )


def _afterwards(tested: PooledScore, gain: Gain, *, is_chosen: bool) -> str:
    verdict = "no difference can be claimed"
    if gain.low > 0:
        verdict = "the choice held" if is_chosen else "it would have been the better choice"
    if gain.high < 0:
        verdict = "the choice did not hold" if is_chosen else "the best block was the better choice"
    return (
        f"Looked at afterwards, on {_patients(tested, 'test')}: {_name(tested)} gains {_written(gain)} over "
        f"the best block; {verdict}."
    )


def _what_lacks(results: EvaluationReport) -> str:
    if results.validation:
        return (
            "of the validation patients who have every modality, no two can be compared. More of them, with "
            "different outcomes, would change that."
        )
    if results.validation_withheld:
        return (
            "the validation patients who have every modality are too few at every site to be scored. A "
            "hospital with more of them would change that."
        )
    return (
        "no site scored validation patients who have every modality. A hospital with some of them would "
        "change that."
    )


def _value(score: PooledScore) -> float:
    return score.value


def _name(score: PooledScore) -> str:
    name = MODELS[score.method]
    return f"{name} {score.modalities[0]}" if score.method == "block" else name


def _patients(score: PooledScore, part: str) -> str:
    return f"{count_of(score.count, f'{part} patient')} with every modality"


def _written(gain: Gain | None) -> str:
    return signed_with_interval(gain.value, gain.low, gain.high) if gain else "nothing"
