"""What every study promises: one question, answered by measurements that are paired patient by patient."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Self, final

from matplotlib.figure import Figure

from lego_core.component import Component
from lego_core.errors import PlanError
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured
from simulations.benchmarks.studies._figures import rows
from simulations.benchmarks.studies._lab import Lab
from simulations.benchmarks.studies._results import StudyResults

FEWEST_TRIALS = 3  # of fewer numbers no interval is drawn

Steps = Mapping[str, Callable[[Lab], Iterable[Measured]]]


class AbstractStudy(Component):
    """Settings of a study; `kind` is its name on the command line.

    A trial is one split of the patients. In every trial a study does some *steps*, each a
    piece of work that is done from beginning to end in one process, kept, and never done again.
    The description of its class, up to `Args`, is printed above its table.

    All that is chosen is chosen on validation patients: a study sees test patients only through
    `Lab.said`, which gives predictions and no scores. How blocks are trained is the plan's.

    Guarantees:
        The arms of a trial speak of the same test patients. The same seed gives the same numbers.
    """

    question: ClassVar[str]
    dataset: ClassVar[str]  # if the command names none
    fewest_trials: ClassVar[int] = 1  # in a quick look too
    fewest_modalities: ClassVar[int] = 1

    @property
    def how(self) -> str:
        """What is done to answer the question: the class's own description."""
        described = (type(self).__doc__ or "").partition("Args:")[0].partition("Source:")[0]
        return " ".join(described.split())

    def quick(self) -> Self:
        """The same study with fewer conditions, for a first look."""
        return self

    @final
    def check(self, modalities: Sequence[str]) -> None:
        """Make sure that the question can be asked of these modalities.

        Raises:
            PlanError: If they are too few.
        """
        if len(modalities) < self.fewest_modalities:
            raise PlanError(
                f"The data have one modality, {list(modalities)}, and the question is about several: "
                f'"{self.question}" Name a dataset of two or more.'
            )

    @abstractmethod
    def steps(self) -> Steps:
        """The pieces of work in a trial, by name; together they measure every arm once.

        Where one raises a LegoError, the others go on, and the table says why.
        """

    @abstractmethod
    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        """What is to be compared, knowing what was measured; without one of its arms it is not judged."""

    def figure(self, results: StudyResults) -> Figure:
        """The picture of the results: a row per arm, unless a study draws another."""
        return rows(results)
