"""What are the models worth for patients who lack modalities?"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import ClassVar, Literal, final

from simulations.benchmarks.studies._arms import Arm, Comparison, Measured, conditions_of
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._lab import Lab

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
    fewest_modalities: ClassVar[int] = 2

    def steps(self) -> Steps:
        """All in one, since the blocks are the same."""
        return {"every subset": _every_subset}

    def comparisons(self, arms: Sequence[Arm]) -> list[Comparison]:
        """By the number of modalities shown, on average over their subsets."""
        by_size: dict[int, list[str]] = {}
        for condition in conditions_of(arms):
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


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset, the small ones first."""
    return [chosen for size in range(1, len(modalities) + 1) for chosen in combinations(modalities, size)]


def _every_subset(lab: Lab) -> Iterable[Measured]:
    """Train all blocks, merge them, and show every subset of the modalities."""
    team = [lab.train(modality) for modality in lab.modalities]
    merge = lab.merged(team)
    for subset in subsets(lab.modalities):
        condition = BETWEEN.join(subset)
        held = [one for one in team if one.modality in subset]
        yield Measured(Arm(condition, BEST), lab.said(lab.best_of(held).block))
        yield Measured(Arm(condition, ENSEMBLE), lab.ensemble(held))
        yield Measured(Arm(condition, MERGE), lab.said(merge, shown=subset))


def _same(conditions: Sequence[str], one: str, other: str) -> tuple[tuple[Arm, Arm], ...]:
    return tuple((Arm(condition, one), Arm(condition, other)) for condition in conditions)
