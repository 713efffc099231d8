"""Is the frequency domain worth it, and the phase, and the harmonic mean?"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar, Literal, final

from lego_core.merging import HarmonicMean, LatentMerge, Mean
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._lab import Lab

FREQUENCY, DROPPED, SIGNAL = "frequency domain", "phase dropped", "signal domain"
LATENTS: dict[str, dict[str, str]] = {
    FREQUENCY: {"domain": "frequency", "phase": "tracked"},
    DROPPED: {"domain": "frequency", "phase": "dropped"},
    SIGNAL: {"domain": "signal", "phase": "tracked"},
}
LEAST_DEPTH = 2
ENSEMBLE, HARMONIC, PUBLISHED, MEAN = (
    "ensemble",
    "harmonic merge",
    "harmonic merge, published phase",
    "mean merge",
)
RULES: dict[str, LatentMerge] = {
    HARMONIC: HarmonicMean(),
    PUBLISHED: HarmonicMean(phase="published"),
    MEAN: Mean(),
}


@final
class DomainStudy(AbstractStudy):
    """Blocks trained and merged with the transform, with its phase dropped after each pass, and without it.

    Everything else is the plan's, but blocks ask their tokens at least twice: a block of depth 1
    has read all before its phase could matter to it.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950, section 3.
    """

    kind: Literal["domain"] = "domain"
    question: ClassVar[str] = "Are the frequency domain, the phase and the harmonic mean worth it?"
    dataset: ClassVar[str] = "icu2012"

    def steps(self) -> Steps:
        """Blocks for each of the three."""
        return {domain: partial(_in_domain, domain=domain) for domain in LATENTS}

    def comparisons(self, _arms: Sequence[Arm], /) -> list[Comparison]:
        """Domain against domain for every method, then rule against rule in the frequency domain."""
        judged = {"for the ensemble": ENSEMBLE, "for the harmonic merge": HARMONIC}
        judged["for the mean merge"] = MEAN
        return [
            *(
                Comparison(what, than, ((Arm(FREQUENCY, method), Arm(other, method)),), where)
                for what, than, other in (
                    ("the frequency domain", "the signal domain", SIGNAL),
                    ("the tracked phase", "the dropped phase", DROPPED),
                )
                for where, method in judged.items()
            ),
            _rules("the harmonic merge", HARMONIC, "the mean merge", MEAN),
            _rules("the circular phase", HARMONIC, "the published phase", PUBLISHED),
        ]


def _in_domain(lab: Lab, *, domain: str) -> Iterable[Measured]:
    """Train blocks in this domain, and merge them by every rule."""
    latent = lab.plan.latent
    deep = {"depth": max(latent.depth, LEAST_DEPTH)}
    lab = lab.with_latent(latent.model_copy(update={**LATENTS[domain], **deep}))
    team = [lab.train(modality) for modality in lab.modalities]
    yield Measured(Arm(domain, "best block"), lab.said(lab.best_of(team).block))
    yield Measured(Arm(domain, ENSEMBLE), lab.ensemble(team))
    for name, rule in RULES.items():
        merging = lab.plan.merging.model_copy(update={"latents": rule})
        yield Measured(Arm(domain, name), lab.said(lab.merged(team, merging=merging)))


def _rules(what: str, method: str, than: str, other: str) -> Comparison:
    return Comparison(what, than, ((Arm(FREQUENCY, method), Arm(FREQUENCY, other)),))
