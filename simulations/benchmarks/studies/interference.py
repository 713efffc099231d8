"""How much of each block's signal survives a merge of latents?"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from statistics import fmean
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Complex, Float
from matplotlib.figure import Figure
from torch import Tensor

from lego_core.errors import DataError
from lego_core.merging import HarmonicMean, LatentMerge, Mean
from lego_core.spectral import to_signal
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured, conditions_of
from simulations.benchmarks.studies._contract import FEWEST_TRIALS, AbstractStudy, Steps
from simulations.benchmarks.studies._figures import side_by_side
from simulations.benchmarks.studies._lab import Lab, Trained
from simulations.benchmarks.studies._results import StudyResults

MEAN, HARMONIC, PUBLISHED, SIGNAL = (
    "mean",
    "harmonic",
    "harmonic, published phase",
    "harmonic in the signal domain",
)
RULES: dict[str, LatentMerge] = {
    MEAN: Mean(),
    HARMONIC: HarmonicMean(),
    PUBLISHED: HarmonicMean(phase="published"),
    SIGNAL: HarmonicMean(),
}
BEFORE = "block to block, before the merge"
COSINE, PATIENTS, LENGTH, CANCELLED = "cosine", "correlation", "length kept", "cancelled"
UNITS = {
    COSINE: "cosine to each block",
    PATIENTS: "correlation with each block",
    LENGTH: "length, of the blocks' mean",
    CANCELLED: "share of elements cancelled",
}
FAINT = 0.1


@final
class Interference(AbstractStudy):
    """What a merged latent has left of those it was made of, by rule and by number of modalities.

    Blocks are merged in every subset of the modalities, for the test patients who hold all of
    them. Four measures, averaged over blocks, patients and subsets: the *cosine* between the merged
    latent and each block's; the *correlation* of what differs between patients, since blocks of
    one start share what is the same for everybody; the *length kept*, of the mean length of the
    blocks' latents; and the share of elements that are *cancelled*, to less than a tenth of the
    blocks' mean magnitude there. The mean of M latents that have nothing to do with each other has a
    cosine and a length of 1 / sqrt(M). In the signal domain the same latents are transformed back,
    merged and compared there. That merging in the frequency domain interferes little is the
    paper's claim (figures 4 and 5); how it is measured here is ours.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950, section 3.
    """

    kind: Literal["interference"] = "interference"
    question: ClassVar[str] = "How much of each block's signal survives a merge of latents?"
    dataset: ClassVar[str] = "synthetic-4-modalities"
    fewest_trials: ClassVar[int] = FEWEST_TRIALS
    fewest_modalities: ClassVar[int] = 2

    def steps(self) -> Steps:
        """All in one, since the blocks are the same."""
        return {"every rule": _every_rule}

    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        """The harmonic mean against the mean, the published phase and the signal domain."""
        asked = (
            ("the harmonic mean", HARMONIC, "the mean", MEAN),
            ("the circular phase", HARMONIC, "the published phase", PUBLISHED),
            ("the frequency domain", HARMONIC, "the signal domain", SIGNAL),
        )
        return [
            Comparison(
                f"the {quantity} of {what}",
                f"that of {than}",
                ((Arm(at, f"{ours}: {quantity}"), Arm(at, f"{theirs}: {quantity}")),),
                f"with {at} modalities",
            )
            for what, ours, than, theirs in asked
            for quantity in (PATIENTS, LENGTH)
            for at in conditions_of(arms)
        ]

    def figure(self, results: StudyResults) -> Figure:
        """A panel per measure, a curve per rule."""
        return side_by_side(
            results,
            along="merged modalities",
            conditions=results.conditions,
            panels={
                unit: {f"{rule}: {quantity}": rule for rule in (*RULES, BEFORE)}
                for quantity, unit in UNITS.items()
            },
        )


def _every_rule(lab: Lab) -> Iterable[Measured]:
    """Train all blocks, and merge what they say of the test patients."""
    in_frequency = {"domain": "frequency", "phase": "tracked"}
    lab = lab.with_latent(lab.plan.latent.model_copy(update=in_frequency))
    latents_freq = latents(lab, [lab.train(modality) for modality in lab.modalities])
    for size in range(2, len(latents_freq) + 1):
        yield from _measured(latents_freq, size=size)


def latents(lab: Lab, team: Sequence[Trained]) -> Complex[Tensor, "M B L D"]:
    """What each block knows of the test patients who hold every modality.

    Raises:
        DataError: If there are no two of them.
    """
    patients = lab.trial.test.holding(*lab.modalities)
    if len(patients) < 2:
        raise DataError(
            f"{len(patients)} of {len(lab.trial.test)} test patients hold all of {list(lab.modalities)}, and "
            "latents are compared over two or more. Name a dataset with more complete patients."
        )
    batch = patients.batch()
    with torch.no_grad():
        return torch.stack([one.block.eval().latent(batch.inputs[one.modality]) for one in team])


def survival(merged: Complex[Tensor, "B L D"], parts: Complex[Tensor, "M B L D"]) -> dict[str, float]:
    """What a merged latent has left of those it was made of: all four measures."""
    magnitudes = parts.abs().mean(dim=0)
    return {
        **likeness(merged[None], parts),
        LENGTH: float((_length(merged) / _length(parts).mean(dim=0)).mean()),
        CANCELLED: float((merged.abs() < FAINT * magnitudes).float().mean()),
    }


def likeness(ours: Complex[Tensor, "M B L D"], theirs: Complex[Tensor, "M B L D"]) -> dict[str, float]:
    """Cosine, patient by patient, and correlation over all of them, of each with its counterpart."""
    cosines = _inner(ours, theirs).sum(dim=(-2, -1)) / (_length(ours) * _length(theirs))
    one, other = (latent - latent.mean(dim=1, keepdim=True) for latent in (ours, theirs))
    spreads = _length(one).norm(dim=1) * _length(other).norm(dim=1)
    correlations = _inner(one, other).sum(dim=(1, 2, 3)) / spreads
    return {
        COSINE: float(cosines.nan_to_num(nan=0.0).mean()),  # of nothing, nothing survives
        PATIENTS: float(correlations.nan_to_num(nan=0.0).mean()),
    }


def _measured(latents_freq: Complex[Tensor, "M B L D"], *, size: int) -> Iterator[Measured]:
    """Every measure of every rule with so many modalities, on average over the subsets."""
    subsets = [latents_freq[list(chosen)] for chosen in combinations(range(len(latents_freq)), size)]
    for rule, merge in RULES.items():
        found = [_survival(_shown(subset, rule), merge) for subset in subsets]
        yield from _averaged(found, rule=rule, size=size)
    pairs = [list(combinations(subset, 2)) for subset in subsets]
    before = [likeness(*(torch.stack(side) for side in zip(*own, strict=True))) for own in pairs]
    yield from _averaged(before, rule=BEFORE, size=size)


def _survival(parts: Complex[Tensor, "M B L D"], rule: LatentMerge) -> dict[str, float]:
    weights = torch.full(parts.shape[:2], 1 / len(parts))
    return survival(rule.combine(parts, weights), parts)


def _shown(parts: Complex[Tensor, "M B L D"], rule: str) -> Complex[Tensor, "M B L D"]:
    """The latents where the rule merges them."""
    return torch.complex(signal := to_signal(parts), torch.zeros_like(signal)) if rule == SIGNAL else parts


def _averaged(found: Sequence[dict[str, float]], *, rule: str, size: int) -> Iterator[Measured]:
    for quantity in found[0]:
        value = fmean(one[quantity] for one in found)
        yield Measured(Arm(str(size), f"{rule}: {quantity}"), value, UNITS[quantity])


def _inner(one: Complex[Tensor, "M B L D"], other: Complex[Tensor, "M B L D"]) -> Tensor:
    return (one.conj() * other).real


def _length(latent: Complex[Tensor, "*M B L D"]) -> Float[Tensor, "*M B"]:
    return latent.abs().square().sum(dim=(-2, -1)).sqrt()
