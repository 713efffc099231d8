"""Does it matter whether blocks were trained on the same patients?"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal, Self, final

from matplotlib.figure import Figure
from pydantic import Field

from lego_core.records import Cohort
from simulations.benchmarks.protocol import in_even_order, unpaired
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._figures import curves
from simulations.benchmarks.studies._lab import Lab
from simulations.benchmarks.studies._results import StudyResults

BEST, ENSEMBLE, MERGE = "best block", "ensemble", "merge"


@final
class Overlap(AbstractStudy):
    """Blocks trained on disjoint patients, on some in common, on all in common; equally many each.

    The patients who hold every modality are dealt out, one modality each. With an overlap of a
    fourth, a fourth of each block's patients are the same for all blocks, and come in equal parts
    from every hand; the others are the block's own. Who is shared with little overlap is shared
    with much. Where the plan stops early, unpaired patients decide when.

    Args:
        shares: Parts of a block's patients that all blocks share.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950, figure 6.
    """

    kind: Literal["overlap"] = "overlap"
    question: ClassVar[str] = "Must blocks be trained on the same patients?"
    dataset: ClassVar[str] = "icu2012"
    shares: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.0, 0.25, 0.5, 0.75, 1.0)

    def quick(self) -> Self:
        """None, half and all."""
        return self.model_copy(update={"shares": (0.0, 0.5, 1.0)})

    def steps(self) -> Steps:
        """Blocks for every overlap."""
        return {_named(share): partial(_with_overlap, share=share) for share in self.shares}

    def comparisons(self, _arms: Sequence[Arm], /) -> list[Comparison]:
        """The merge against ensemble and best block at every overlap; full overlap against none."""
        steps = list(self.steps())
        first, last = steps[0], steps[-1]
        return [
            *(
                Comparison("the merge", than, ((Arm(step, MERGE), Arm(step, other)),), f"at {step}")
                for than, other in (("the ensemble", ENSEMBLE), ("the best block", BEST))
                for step in steps
            ),
            *(
                Comparison(f"{last} overlap", first, ((Arm(last, method), Arm(first, method)),), where)
                for where, method in {"for the merge": MERGE, "for the ensemble": ENSEMBLE}.items()
            ),
        ]

    def figure(self, results: StudyResults) -> Figure:
        """A curve per method."""
        return curves(results, along="training patients that all blocks have in common")


def overlapping(lab: Lab, share: float) -> Mapping[str, Cohort]:
    """Training patients for each modality, equally many, of whom a share is the same for all."""
    seed, names = lab.trial.seed, lab.modalities
    complete = lab.trial.train.holding(*names)
    hand_of = {
        record.patient_id: next(iter(record.modalities))
        for record in unpaired(complete, task=lab.task, seed=seed).records
    }
    order = in_even_order(complete, task=lab.task, seed=seed).records
    hands = {name: [record for record in order if hand_of[record.patient_id] == name] for name in names}
    each = min(len(hand) for hand in hands.values())
    common = round(share * each)
    given = {name: (common + index) // len(names) for index, name in enumerate(names)}
    shared = [record for name in names for record in hands[name][: given[name]]]
    return {
        name: complete.keep([*shared, *hands[name][given[name] : given[name] + each - common]])
        for name in names
    }


def _with_overlap(lab: Lab, *, share: float) -> Iterable[Measured]:
    """Train blocks with this overlap, and merge them as the plan does."""
    patients, condition = overlapping(lab, share), _named(share)
    team = [lab.train(modality, patients=patients[modality]) for modality in lab.modalities]
    yield Measured(Arm(condition, BEST), lab.said(lab.best_of(team).block))
    yield Measured(Arm(condition, ENSEMBLE), lab.ensemble(team))
    yield Measured(Arm(condition, MERGE), lab.said(lab.merged(team)))


def _named(share: float) -> str:
    return f"{round(100 * share)} %"
