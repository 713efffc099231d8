"""What the trials of a method come to, over and over again with other patients drawn."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.tasks import Task
from simulations.benchmarks.protocol import Place
from simulations.benchmarks.ranking import Tally, tally

RESAMPLES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The patients of a trial's test, by their row in the cohort, and what became of them."""

    rows: Float[np.ndarray, "B"]
    outcomes: Float[Tensor, "B O"]


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """A metric over the trials: as it is, repeat by repeat, and for every resample.

    Args:
        mean: Mean over the repeats; None if no trial could be scored.
        per_repeat: Mean over a repeat's folds, weighted by comparable pairs; None where no
            fold could be scored.
        resampled: `mean` for every resample of the patients.
    """

    mean: float | None
    per_repeat: tuple[float | None, ...]
    resampled: Float[np.ndarray, "R"]


class Bootstrap:
    """The same resamples of a cohort's patients for every method, so that differences are paired.

    A patient who was drawn k times counts k times in every trial that tests them.

    Args:
        tested: Who was tested in each trial.
        patients: Size of the cohort.
        task: Tells the metric.
        seed: Another seed draws others.
        resamples: How many.
    """

    def __init__(
        self,
        tested: Mapping[Place, Scored],
        *,
        patients: int,
        task: Task,
        seed: int,
        resamples: int = RESAMPLES,
    ) -> None:
        self.tested = tested
        self.task = task
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
        self._drawn = np.concatenate([np.ones((1, patients)), drawn])  # the first is the cohort itself

    def means(self, predictions: Mapping[Place, Tensor]) -> Means:
        """Score a method over the trials in which it worked.

        Args:
            predictions: What it says of the tested patients of each such trial; rows of NaN
                for those of whom it says nothing, who are not counted.
        """
        repeats = sorted({place.repeat for place in self.tested})
        table = np.full((len(repeats), len(self._drawn)), np.nan)
        for row, repeat in enumerate(repeats):
            folds = [place for place in predictions if place.repeat == repeat]
            if folds:
                table[row] = _over_folds([self._tally(place, predictions[place]) for place in folds])
        means = _mean_of_known(table)
        per_repeat = tuple(_known(value) for value in table[:, 0])
        return Means(_known(means[0]), per_repeat, means[1:])

    def difference(
        self, predictions: Mapping[Place, Tensor], other: Mapping[Place, Tensor]
    ) -> tuple[Means, Means]:
        """Score two methods over the trials and the patients of whom both say something."""
        both = predictions.keys() & other.keys()
        silent = {p: (predictions[p].isnan().any(dim=1) | other[p].isnan().any(dim=1)) for p in both}
        ours, theirs = (
            {place: one[place].masked_fill(silent[place][:, None], torch.nan) for place in both}
            for one in (predictions, other)
        )
        return self.means(ours), self.means(theirs)

    def _tally(self, place: Place, said: Tensor) -> Tally:
        tested = self.tested[place]
        spoken = ~said.isnan().any(dim=1)
        drawn = self._drawn[:, tested.rows[spoken.numpy()]]
        return tally(self.task, said[spoken], tested.outcomes[spoken], times_drawn=drawn)


def interval(resampled: Float[np.ndarray, "R"]) -> tuple[float, float]:
    """The middle 95 % of the resamples that could be scored."""
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return float(low), float(high)


def _over_folds(tallies: list[Tally]) -> np.ndarray:
    """Mean over folds, weighted by comparable pairs; NaN where there are none."""
    values, pairs = np.stack([t.value for t in tallies]), np.stack([t.pairs for t in tallies])
    return _share((values * pairs).sum(axis=0), pairs.sum(axis=0))


def _mean_of_known(table: np.ndarray) -> np.ndarray:
    """Mean of every column over the rows that are not NaN; NaN where all are."""
    known = ~np.isnan(table)
    return _share(np.where(known, table, 0.0).sum(axis=0), known.sum(axis=0))


def _share(total: np.ndarray, of: np.ndarray) -> np.ndarray:
    return np.divide(total, of, out=np.full(total.shape, np.nan), where=of > 0)


def _known(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
