"""How many paired patients does a fused model need?"""

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal, Self, final

from matplotlib.figure import Figure
from pydantic import Field

from lego_core.errors import DataError
from lego_core.fuse import FuseOrder
from lego_core.records import Cohort
from simulations.benchmarks.models import fit_baseline
from simulations.benchmarks.protocol import in_even_order
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured, conditions_of
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._figures import curves
from simulations.benchmarks.studies._lab import Lab
from simulations.benchmarks.studies._results import StudyResults

MERGE, END_TO_END = "merge", "late-concat"
FUSED: dict[FuseOrder, str] = {"stack": "fuse, stack", "weave": "fuse, weave"}
ALL = "all"


@final
class Paired(AbstractStudy):
    """The same unpaired blocks, fused for two epochs on ever more training patients who are paired.

    Paired are those who hold several modalities. Every group of them has the outcomes in
    proportion, and smaller ones are inside larger ones. The merge sees no paired patient. Late
    concatenation is trained from scratch on the same paired patients, and all validation patients
    decide when it stops, which is in its favour. Where paired patients are too few to train it, it is
    left out. In blocks of depth 1 both orders of fuse are the same, so one is measured.

    Args:
        numbers: How many patients; then comes everybody.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950, section 3
        (LegoFuse).
    """

    kind: Literal["paired"] = "paired"
    question: ClassVar[str] = "How many paired patients does a fused model need?"
    dataset: ClassVar[str] = "icu2012"
    fewest_modalities: ClassVar[int] = 2
    numbers: tuple[Annotated[int, Field(ge=0)], ...] = (0, 10, 25, 50, 100, 250, 500)

    def quick(self) -> Self:
        """Nobody, few, many, everybody."""
        return self.model_copy(update={"numbers": (0, 25, 100)})

    def steps(self) -> Steps:
        """All in one, since the blocks are the same."""
        return {"every number": self._every_number}

    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        """The fused models against the merge and against late concatenation, at every number."""
        conditions = conditions_of(arms)
        asked = (
            (f"the fused model ({order})", method, than, other)
            for than, other in (("the merge", MERGE), ("late concatenation", END_TO_END))
            for order, method in FUSED.items()
        )
        return [
            Comparison(what, than, ((Arm(at, method), Arm(at, other)),), f"with {at}")
            for what, method, than, other in asked
            for at in conditions
            if Arm(at, method) in arms and Arm(at, other) in arms
        ]

    def figure(self, results: StudyResults) -> Figure:
        """A curve per method."""
        return curves(results, along="paired training patients")

    def _every_number(self, lab: Lab) -> Iterable[Measured]:
        """Train all blocks, merge them, and fuse them on more and more patients."""
        team = [lab.train(modality) for modality in lab.modalities]
        merged = lab.said(lab.merged(team))
        orders = ("stack",) if lab.plan.latent.depth == 1 else tuple(FUSED)
        for condition, patients in groups(lab, self.numbers).items():
            yield Measured(Arm(condition, MERGE), merged)
            for order in orders:
                yield Measured(
                    Arm(condition, FUSED[order]), lab.said(lab.fused(team, order, patients=patients))
                )
            yield from _end_to_end(lab, patients, condition=condition)


def groups(lab: Lab, numbers: Sequence[int]) -> dict[str, Cohort]:
    """So many of the paired training patients, the outcomes in proportion; at last all of them."""
    paired = lab.trial.train.with_several(lab.modalities)
    order = in_even_order(paired, task=lab.task, seed=lab.trial.seed).records if len(paired) else ()
    some = {str(number): paired.keep(order[:number]) for number in numbers if number < len(order)}
    return {**some, ALL: paired}


def _end_to_end(lab: Lab, patients: Cohort, *, condition: str) -> Iterable[Measured]:
    trial = lab.trial
    try:
        fitted = fit_baseline(
            END_TO_END, patients, trial.validation, plan=lab.plan, task=lab.task, seed=trial.seed
        )
    except DataError:  # nobody, or all with the same outcome
        return
    yield Measured(Arm(condition, END_TO_END), fitted.predict(trial.test))
