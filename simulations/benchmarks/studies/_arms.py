"""The words of a study: what is measured, what came out of it, and what is compared."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


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


def conditions_of(arms: Iterable[Arm]) -> list[str]:
    """The conditions, in the order in which they were measured."""
    return list(dict.fromkeys(arm.condition for arm in arms))
