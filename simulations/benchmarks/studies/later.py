"""Can a modality come later, without training the others again?"""

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, final

from lego_core.fuse import LegoFuse
from lego_core.statistics import FeatureStatistics
from lego_core.training import fit_fused
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._lab import Lab, Trained

EVERYBODY = "all modalities"
MERGE, ENSEMBLE, AGAIN, JOINTLY = "merge", "ensemble", "fused again", "trained jointly from scratch"


@final
class Later(AbstractStudy):
    """Every modality comes last once: first the others are merged, then its block is trained and joins them.

    The newcomer's block begins with the common start, on patients of its own, and not one weight
    of the others changes; so the order in which they came does not matter. What it brings is the
    merge of all against the merge without it. The alternatives train everything on paired patients
    once it is there: all blocks fused for two epochs, or all of them fused before any training and
    trained jointly from the common start, as the plan says.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950.
    """

    kind: Literal["later"] = "later"
    question: ClassVar[str] = "Can a modality come later, without training the others again?"
    dataset: ClassVar[str] = "icu2012"
    fewest_modalities: ClassVar[int] = 2

    def steps(self) -> Steps:
        """With the blocks, and without them."""
        return {"one by one": _one_by_one, JOINTLY: _at_once}

    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        """All against all but the newcomer; adding it against training everybody."""
        without = [arm for arm in arms if arm.method == MERGE and arm.condition != EVERYBODY]
        return [
            *(
                Comparison(
                    "the merge with the newcomer",
                    "that of the others alone",
                    ((Arm(EVERYBODY, MERGE), arm),),
                    f"if the newcomer is {arm.condition.removeprefix(_without(''))}",
                )
                for arm in without
            ),
            *(
                Comparison("the merge of all", than, ((Arm(EVERYBODY, MERGE), Arm(EVERYBODY, method)),))
                for than, method in {
                    "training all jointly from scratch": JOINTLY,
                    "fusing all of them again": AGAIN,
                }.items()
            ),
        ]


def _one_by_one(lab: Lab) -> Iterable[Measured]:
    """Add each modality to a merge of the others."""
    first, *others = lab.modalities
    team = [lab.train(modality) for modality in others]
    yield from _merged(lab, team, without=first)
    team = joined_by(lab, team, first)
    for newcomer in others:
        yield from _merged(lab, [one for one in team if one.modality != newcomer], without=newcomer)
    yield Measured(Arm(EVERYBODY, MERGE), lab.said(lab.merged(team)))
    yield Measured(Arm(EVERYBODY, ENSEMBLE), lab.ensemble(team))
    paired = lab.trial.train.with_several(lab.modalities)
    yield Measured(Arm(EVERYBODY, AGAIN), lab.said(lab.fused(team, "stack", patients=paired)))


def _at_once(lab: Lab) -> Iterable[Measured]:
    yield Measured(Arm(EVERYBODY, JOINTLY), lab.said(jointly(lab)))


def joined_by(lab: Lab, team: Sequence[Trained], newcomer: str) -> list[Trained]:
    """The team with one more block, which is trained now; in the plan's order."""
    everybody = {one.modality: one for one in (*team, lab.train(newcomer))}
    return [everybody[modality] for modality in lab.modalities]


def jointly(lab: Lab) -> LegoFuse:
    """All blocks fused as they start, and trained together on the paired training patients."""
    paired = lab.trial.train.with_several(lab.modalities).marked("train")
    blocks = [lab.untrained(modality) for modality in lab.modalities]
    for block in blocks:
        block.normalise_with(FeatureStatistics.of(paired, block.modality).normalisation())
    return fit_fused(
        LegoFuse(blocks, order="stack"),
        paired,
        lab.trial.validation.with_several(lab.modalities),
        task=lab.task,
        settings=lab.plan.training,
        seed=lab.trial.seed,
        device="cpu",
    )


def _merged(lab: Lab, team: Sequence[Trained], *, without: str) -> Iterable[Measured]:
    yield Measured(Arm(_without(without), MERGE), lab.said(lab.merged(team)))
    yield Measured(Arm(_without(without), ENSEMBLE), lab.ensemble(team))


def _without(modality: str) -> str:
    return f"without {modality}"
