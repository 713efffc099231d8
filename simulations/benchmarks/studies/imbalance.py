"""Who still gains from a merge when one modality has few patients?"""

from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal, Self, final

from matplotlib.figure import Figure
from pydantic import Field

from lego_core.records import Cohort
from simulations.benchmarks.protocol import in_even_order
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured, conditions_of
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._figures import curves
from simulations.benchmarks.studies._lab import Lab, Trained
from simulations.benchmarks.studies._results import StudyResults

SCARCE, OTHERS = "block of the scarce modality", "best of the other blocks"
ENSEMBLE, MERGE, BY_SIZE = "ensemble", "merge", "merge weighted by patients"
FEWEST_PATIENTS = 10


@final
class Imbalance(AbstractStudy):
    """One modality after the other becomes scarce: the others keep all their patients.

    The modalities start with equally many patients, as they are dealt out. At 1:10 the scarce one
    keeps a tenth of its training and of its validation patients, with the outcomes in proportion;
    the others keep theirs, so that any change comes from the scarce one. Smaller groups are inside
    larger ones. Below 10 training patients a ratio is left out.

    Args:
        ratios: How many times fewer patients the scarce modality has.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950.
    """

    kind: Literal["imbalance"] = "imbalance"
    question: ClassVar[str] = "Who still gains from a merge when one modality has few patients?"
    dataset: ClassVar[str] = "icu2012"
    fewest_modalities: ClassVar[int] = 2
    ratios: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 5, 10, 20, 50)

    def quick(self) -> Self:
        """Equal, a tenth, a fiftieth."""
        return self.model_copy(update={"ratios": (1, 10, 50)})

    def steps(self) -> Steps:
        """All in one, since the blocks with all their patients are the same."""
        return {"every ratio": self._every_ratio}

    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        """At every ratio, on average over which modality is scarce."""
        conditions = conditions_of(arms)
        asked: list[Comparison] = []
        for what, method, than, other in (
            ("the merge", MERGE, "the block of the scarce modality", SCARCE),
            ("the merge", MERGE, "the best of the other blocks", OTHERS),
            ("the merge", MERGE, "the ensemble", ENSEMBLE),
            ("the merge weighted by patients", BY_SIZE, "the plan's merge", MERGE),
        ):
            for ratio in self.ratios:
                at = [condition for condition in conditions if condition.endswith(f" 1:{ratio}")]
                pairs = tuple((Arm(condition, method), Arm(condition, other)) for condition in at)
                if pairs:
                    asked.append(Comparison(what, than, pairs, f"at 1:{ratio}"))
        return asked

    def figure(self, results: StudyResults) -> Figure:
        """A panel per scarce modality, a curve per method."""
        panels: dict[str, dict[str, str]] = {}
        for condition in results.conditions:
            modality, _, ratio = condition.rpartition(" ")
            panels.setdefault(f"{modality} is scarce", {})[condition] = ratio
        return curves(results, along="its patients to those of each other modality", panels=panels)

    def _every_ratio(self, lab: Lab) -> Iterable[Measured]:
        """Train all blocks, then each modality's again on ever fewer patients."""
        full = {modality: lab.train(modality) for modality in lab.modalities}
        for modality in lab.modalities:
            for ratio in self.ratios:
                scarce = full[modality] if ratio == 1 else _scarce(lab, modality, ratio)
                if scarce is not None:
                    others = [one for name, one in full.items() if name != modality]
                    yield from _compared(lab, scarce, others, condition=_named(modality, ratio))


def fewer(cohort: Cohort, ratio: int, *, lab: Lab) -> Cohort:
    """One patient of so many, at least one, the outcomes in proportion."""
    kept = max(1, round(len(cohort) / ratio))
    return cohort.keep(in_even_order(cohort, task=lab.task, seed=lab.trial.seed).records[:kept])


def _scarce(lab: Lab, modality: str, ratio: int) -> Trained | None:
    patients = fewer(lab.dealt(lab.trial.train, modality), ratio, lab=lab)
    if len(patients) < FEWEST_PATIENTS:
        return None
    validation = fewer(lab.dealt(lab.trial.validation, modality), ratio, lab=lab)
    return lab.train(modality, patients=patients, validation=validation)


def _compared(lab: Lab, scarce: Trained, others: Sequence[Trained], *, condition: str) -> Iterable[Measured]:
    everybody = {one.modality: one for one in (scarce, *others)}
    team = [everybody[modality] for modality in lab.modalities]
    sizes = {one.modality: float(len(one.patients)) for one in team}
    by_size = lab.plan.merging.model_copy(update={"modality_weights": sizes})
    yield Measured(Arm(condition, SCARCE), lab.said(scarce.block))
    yield Measured(Arm(condition, OTHERS), lab.said(lab.best_of(others).block))
    yield Measured(Arm(condition, ENSEMBLE), lab.ensemble(team))
    yield Measured(Arm(condition, MERGE), lab.said(lab.merged(team)))
    yield Measured(Arm(condition, BY_SIZE), lab.said(lab.merged(team, merging=by_size)))


def _named(modality: str, ratio: int) -> str:
    return f"{modality} 1:{ratio}"
