"""What are the models worth for patients who lack modalities?"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import ClassVar, Literal, final

from matplotlib.figure import Figure

from lego_core.errors import PlanError
from simulations.benchmarks.studies._contract import AbstractStudy, Arm, Comparison, Measured
from simulations.benchmarks.studies._figures import rows
from simulations.benchmarks.studies._lab import Lab
from simulations.benchmarks.studies._results import StudyResults

BEST, ENSEMBLE, MERGE = "best held block", "ensemble", "merge"
BETWEEN = " + "


@final
class Absent(AbstractStudy):
    """The same test patients again and again, with other modalities hidden each time.

    Blocks are trained once per trial. The best held block is the one that validation patients
    prefer among those whose modality is shown. With one modality all three are the same model.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950.
    """

    kind: Literal["absent"] = "absent"
    question: ClassVar[str] = "What are the models worth for patients who lack modalities?"
    dataset: ClassVar[str] = "synthetic-4-modalities"

    def steps(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """All in one, since the blocks are the same.

        Raises:
            PlanError: If there is only one modality.
        """
        if len(modalities) < 2:
            raise PlanError(
                f"The data have one modality, {list(modalities)}, so none can be absent. Name a dataset of "
                "two or more."
            )
        return ("every subset",)

    def measure(self, lab: Lab, step: str) -> Iterable[Measured]:  # noqa: ARG002 - there is only one
        """Train all blocks, merge them, and show every subset of the modalities."""
        team = [lab.train(modality) for modality in lab.modalities]
        merge = lab.merged(team)
        for subset in subsets(lab.modalities):
            condition = BETWEEN.join(subset)
            held = [one for one in team if one.modality in subset]
            yield Measured(Arm(condition, BEST), lab.said(lab.best_of(held).block))
            yield Measured(Arm(condition, ENSEMBLE), lab.ensemble(held))
            yield Measured(Arm(condition, MERGE), lab.said(merge, shown=subset))

    def comparisons(self, arms: Sequence[Arm]) -> list[Comparison]:
        """By the number of modalities shown, on average over their subsets."""
        conditions = list(dict.fromkeys(arm.condition for arm in arms))
        by_size: dict[int, list[str]] = {}
        for condition in conditions:
            by_size.setdefault(condition.count(BETWEEN) + 1, []).append(condition)
        most = max(by_size, default=0)
        asked = [
            Comparison(
                "the merge", than, _same(by_size[size], MERGE, other), f"with {size} of {most} modalities"
            )
            for than, other in (("the ensemble", ENSEMBLE), ("the best held block", BEST))
            for size in by_size
            if size > 1
        ]
        for size in by_size:
            pairs = tuple((Arm(c, MERGE), Arm(by_size[most][0], MERGE)) for c in by_size[size])
            if size < most:
                asked.append(
                    Comparison(
                        "the merge of fewer", "that of all", pairs, f"with {size} of {most} modalities"
                    )
                )
        return asked

    def figure(self, results: StudyResults) -> Figure:
        """A row per subset and method."""
        return rows(results)


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset, the small ones first."""
    return [chosen for size in range(1, len(modalities) + 1) for chosen in combinations(modalities, size)]


def _same(conditions: Sequence[str], one: str, other: str) -> tuple[tuple[Arm, Arm], ...]:
    return tuple((Arm(condition, one), Arm(condition, other)) for condition in conditions)
