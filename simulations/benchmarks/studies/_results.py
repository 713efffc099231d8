"""`results.json` of a study: everything it found, as one document."""

from typing import final

from lego_core.component import Component
from simulations.benchmarks.results import AbstractResults, Gain


@final
class Measurement(Component):
    """One arm in one trial, as a number: a row of the tidy table.

    Args:
        repeat: Which repeat, counted from 1.
        fold: Which of its folds.
        condition: What the study varies.
        method: What was measured under this condition.
        value: The metric on this trial's test patients, or the number that was measured; None if
            the test patients hold no comparable pair.
        unit: Name of the metric, or of the unit.
    """

    repeat: int
    fold: int
    condition: str
    method: str
    value: float | None
    unit: str


@final
class Row(Component):
    """One arm over all trials.

    Args:
        condition: What the study varies.
        method: What was measured under this condition.
        unit: Name of the metric, or of the unit.
        mean: Mean over the repeats, of a number over the trials; None if nothing could be scored.
        ci95: Its interval; None if there is none, or for a number from fewer than 3 trials.
        trials: How many trials it rests on.
    """

    condition: str
    method: str
    unit: str
    mean: float | None
    ci95: tuple[float, float] | None
    trials: int


@final
class Compared(Component):
    """The answer to a comparison.

    Args:
        what: The one side.
        than: The other side.
        where: Under which condition, if the same was asked under several.
        gain: By how much, with a paired interval; None if it could not be judged.
        margin: A difference that would not matter; None if nobody said one.
    """

    what: str
    than: str
    where: str = ""
    gain: Gain | None
    margin: float | None = None


@final
class StudyResults(AbstractResults):
    """A study's results; further settings as in `AbstractResults`.

    Args:
        study: Its name.
        question: What it asks.
        how: What was done to answer it.
        sentence: What came out, in words.
        comparisons: What the sentence rests on.
        rows: Every arm, in the order in which arms were measured.
        measurements: Every arm in every trial.
    """

    study: str
    question: str
    how: str
    sentence: str
    comparisons: tuple[Compared, ...]
    rows: tuple[Row, ...]
    measurements: tuple[Measurement, ...]

    @property
    def conditions(self) -> list[str]:
        """The conditions, in order."""
        return list(dict.fromkeys(row.condition for row in self.rows))

    @property
    def methods(self) -> list[str]:
        """The methods, in order."""
        return list(dict.fromkeys(row.method for row in self.rows))

    def row(self, condition: str, method: str) -> Row | None:
        """An arm over all trials; None if it was not measured."""
        return next((r for r in self.rows if (r.condition, r.method) == (condition, method)), None)
