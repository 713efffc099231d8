"""Rank metrics as counts of pairs, so that a thousand resamples of the patients cost little.

A concordance index and an area under the ROC curve are both the share of comparable pairs of
patients that are in the right order. Let `comparable[i, j]` say that the two can be compared,
and `right[i, j]` how right their order is (1, 1/2, 0). If patient i was drawn `w[i]` times, the
metric of the resample is `w' right w / w' comparable w`: the very number that the resampled
table would give, because a patient is never comparable with a copy of itself.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lego_core.tasks import Classification, MultiLabel, Survival, Task

TIED = 1e-8  # scikit-survival takes risks for equal that differ by no more
AT_ONCE = 512  # rows of a table of pairs


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Metric and comparable pairs, for each of R resamples.

    Args:
        value: The metric; 0 where there is no pair.
        pairs: The pairs it was counted over.
    """

    value: Float[np.ndarray, "R"]
    pairs: Float[np.ndarray, "R"]


def tally(
    task: Task,
    predictions: Float[Tensor, "B Q"],
    outcomes: Float[Tensor, "B O"],
    *,
    times_drawn: Float[np.ndarray, "R B"],
) -> Tally:
    """Score resamples of the patients; what `task.score` gives for every resampled table."""
    if isinstance(task, Survival):
        return _macro([_concordance(predictions, outcomes)], times_drawn)
    if isinstance(task, Classification | MultiLabel):
        return _macro(_areas(task, predictions, outcomes), times_drawn)
    return _one_by_one(task, predictions, outcomes, times_drawn)


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """One ranking: who should be above whom.

    Args:
        score: What the patients are ranked by.
        above: Patients who should rank above others.
        comparable: Above whom each of them should.
        tied: Differences of scores up to this are ties.
    """

    score: Float[np.ndarray, "B"]
    above: np.ndarray
    comparable: Bool[np.ndarray, "A B"]
    tied: float = 0.0

    def count(self, drawn: Float[np.ndarray, "R B"]) -> tuple[np.ndarray, np.ndarray]:
        """Pairs in the right order (ties count half) and pairs, for every resample."""
        right, pairs = np.zeros(len(drawn)), np.zeros(len(drawn))
        for start in range(0, len(self.above), AT_ONCE):
            rows = self.above[start : start + AT_ONCE]
            comparable = self.comparable[start : start + AT_ONCE].astype(np.float64)
            lead = self.score[rows, None] - self.score[None, :]
            order = np.where(np.abs(lead) <= self.tied, 0.5, lead > 0)
            weights = drawn[:, rows]
            right += (weights * (drawn @ (comparable * order).T)).sum(axis=1)
            pairs += (weights * (drawn @ comparable.T)).sum(axis=1)
        return right, pairs


def _concordance(predictions: Tensor, outcomes: Tensor) -> _Question:
    """Who had the event should rank above who outlived them, or was seen as long without it."""
    times, events = outcomes.double().numpy().T
    above = np.flatnonzero(events == 1)
    later = times[None, :] > times[above, None]
    as_long = (times[None, :] == times[above, None]) & (events == 0)
    return _Question(-predictions.double().numpy().sum(axis=1), above, later | as_long, tied=TIED)


def _areas(task: Classification | MultiLabel, predictions: Tensor, outcomes: Tensor) -> list[_Question]:
    """Whoever has a label should rank above everybody who has not; the second of two classes is one."""
    scores = predictions.double().numpy()
    if isinstance(task, Classification):
        truth = outcomes.numpy() == np.arange(len(task.classes))
        first = 1 if len(task.classes) == 2 else 0
        scores, truth = scores[:, first:], truth[:, first:]
    else:
        truth = outcomes.numpy() == 1
    return [
        _Question(score, np.flatnonzero(has), np.broadcast_to(~has, (int(has.sum()), len(has))))
        for score, has in zip(scores.T, truth.T, strict=True)
    ]


def _macro(questions: list[_Question], drawn: np.ndarray) -> Tally:
    """Mean over the questions that a resample can answer; pairs add up."""
    right, pairs = (np.stack(counts) for counts in zip(*(q.count(drawn) for q in questions), strict=True))
    answered = (pairs > 0).sum(axis=0)
    shares = np.divide(right, pairs, out=np.zeros_like(right), where=pairs > 0)
    return Tally(shares.sum(axis=0) / np.maximum(answered, 1), pairs.sum(axis=0))


def _one_by_one(task: Task, predictions: Tensor, outcomes: Tensor, drawn: np.ndarray) -> Tally:
    """For a task whose pairs are not known here: make every resampled table, and score it."""
    values, pairs = np.zeros(len(drawn)), np.zeros(len(drawn))
    for index, times in enumerate(drawn):
        rows = torch.from_numpy(np.repeat(np.arange(len(times)), times.astype(int)))
        score = task.score(predictions[rows], outcomes[rows])
        values[index], pairs[index] = (score.value, score.pairs) if score.pairs else (0.0, 0.0)
    return Tally(values, pairs)
