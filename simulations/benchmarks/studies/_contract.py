"""What every study promises: one question, answered by measurements that are paired patient by patient."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from matplotlib.figure import Figure
from torch import Tensor

from lego_core.component import Component
from simulations.benchmarks.studies._lab import Lab
from simulations.benchmarks.studies._results import StudyResults

FEWEST_TRIALS = 3  # of fewer numbers no interval is drawn


class Arm(NamedTuple):
    """What is measured in every trial.

    Args:
        condition: What the study varies, as tables and figures say it: `25 %`, `own start`.
        method: What is measured under this condition: `merge`, `ensemble`, `seconds`.
    """

    condition: str
    method: str


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One arm in one trial.

    Args:
        arm: What was measured.
        what: Predictions (B, Q) for the trial's test patients, in order, with rows of NaN for
            those of whom nothing is said; they are scored by the task's metric, and intervals
            come from resampling patients. Or a number, and intervals come from resampling trials.
        unit: Of a number: `seconds`, `MiB`, `distance`.
    """

    arm: Arm
    what: Tensor | float
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A question of above or below, to which the sentence of result is the answer.

    Args:
        what: The one side, as the sentence names it: `the merge`.
        than: The other side: `the ensemble`.
        pairs: Arms of the one side, each with its counterpart of the other; of several pairs
            the mean difference is judged.
        where: Under which condition, if the same is asked under several: `at 25 % overlap`.
        margin: A difference that would not matter; the sentence says whether the interval is
            inside it.
    """

    what: str
    than: str
    pairs: tuple[tuple[Arm, Arm], ...]
    where: str = ""
    margin: float | None = None


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

    @property
    def how(self) -> str:
        """What is done to answer the question: the class's own description."""
        described = (type(self).__doc__ or "").partition("Args:")[0].partition("Source:")[0]
        return " ".join(described.split())

    def quick(self) -> Self:
        """The same study with fewer conditions, for a first look."""
        return self

    @abstractmethod
    def steps(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """The pieces of work in a trial, by name; together they measure every arm once.

        Raises:
            PlanError: If the question cannot be asked of these modalities.
        """

    @abstractmethod
    def measure(self, lab: Lab, step: str) -> Iterable[Measured]:
        """Do one step of a trial.

        Raises:
            LegoError: If it cannot be done; the others go on, and the table says why.
        """

    @abstractmethod
    def comparisons(self, arms: Sequence[Arm]) -> list[Comparison]:
        """What is to be compared, knowing what was measured; without one of its arms it is not judged."""

    @abstractmethod
    def figure(self, results: StudyResults) -> Figure:
        """The picture of the results."""
