"""From what was measured in the trials to rows, comparisons and a sentence."""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import final

import numpy as np
import torch
from torch import Tensor

from simulations.benchmarks.bootstrap import RESAMPLES, Bootstrap, Means, interval
from simulations.benchmarks.protocol import Place
from simulations.benchmarks.results import Gain
from simulations.benchmarks.studies._arms import Arm, Comparison
from simulations.benchmarks.studies._contract import FEWEST_TRIALS
from simulations.benchmarks.studies._results import Compared, Measurement, Row, StudyResults
from simulations.benchmarks.studies._words import sentences
from simulations.benchmarks.studies._work import StudyRun
from simulations.benchmarks.summary import describe_splits, judge, make_bootstrap


def summarise_study(run: StudyRun) -> StudyResults:
    """Everything there is to tell of a study whose steps are done."""
    findings = Findings(run)
    bench, study = run.benchmark, run.study
    comparisons = tuple(findings.compare(one) for one in study.comparisons(findings.arms))
    return StudyResults(
        study=run.name,
        question=study.question,
        dataset=bench.subject.name,
        metric=bench.plan.task.metric,
        sentence=sentences(comparisons),
        comparisons=comparisons,
        rows=tuple(findings.row(arm) for arm in findings.arms),
        measurements=tuple(findings.tidy()),
        how=study.how,
        protocol=" ".join(describe_splits(bench)),
        notes=(*bench.subject.notes, *findings.failures()),
        quick=bench.quick,
    )


@final
class Findings:
    """The arms of a study over its trials; predictions and numbers apart.

    Args:
        run: The study.
    """

    def __init__(self, run: StudyRun) -> None:
        self.run = run
        self._said: dict[Arm, dict[Place, Tensor]] = {}
        self._numbers: dict[Arm, dict[Place, float]] = {}
        self._units: dict[Arm, str] = {}
        self._means: dict[Arm, Means] = {}
        self._bootstrap: Bootstrap = make_bootstrap(run.benchmark)
        for place, step in run.finished():
            for one in run.notebook.read(place, step):
                if isinstance(one.what, Tensor):
                    self._said.setdefault(one.arm, {})[place] = one.what
                else:
                    self._numbers.setdefault(one.arm, {})[place] = one.what
                self._units.setdefault(one.arm, one.unit or run.benchmark.plan.task.metric)

    @property
    def arms(self) -> list[Arm]:
        """What was measured, in the order in which it was."""
        return list(self._units)

    def row(self, arm: Arm) -> Row:
        """One arm over its trials."""
        mean, resampled, trials = self._over_trials(arm)
        return Row(
            condition=arm.condition,
            method=arm.method,
            unit=self._units[arm],
            mean=mean,
            ci95=None if mean is None or resampled is None else interval(resampled),
            trials=trials,
        )

    def compare(self, asked: Comparison) -> Compared:
        """The mean difference over the pairs of arms that both were measured."""
        known = [pair for pair in asked.pairs if all(arm in self._units for arm in pair)]
        differences = [self._difference(first, second) for first, second in known]
        judged = [one for one in differences if one is not None]
        gain: Gain | None = None
        if judged and len(judged) == len(asked.pairs):
            resampled = np.stack([resamples for _, resamples in judged]).mean(axis=0)
            gain = judge(fmean(difference for difference, _ in judged), resampled)
        return Compared(what=asked.what, than=asked.than, where=asked.where, gain=gain, margin=asked.margin)

    def tidy(self) -> Iterator[Measurement]:
        """Every arm in every trial, as a number."""
        for arm in self.arms:
            for place in sorted({*self._said.get(arm, {}), *self._numbers.get(arm, {})}):
                yield Measurement(
                    repeat=place.repeat,
                    fold=place.fold,
                    condition=arm.condition,
                    method=arm.method,
                    value=self._numbers[arm][place] if arm in self._numbers else self._score(arm, place),
                    unit=self._units[arm],
                )

    def failures(self) -> Iterator[str]:
        """Steps that failed, with the reason."""
        for place, step in self.run.finished():
            if reason := self.run.notebook.failure(place, step):
                yield f"'{step}' failed in {place}: {reason}"

    def _score(self, arm: Arm, place: Place) -> float | None:
        said, outcomes = self._said[arm][place], self._bootstrap.tested[place].outcomes
        spoken = ~said.isnan().any(dim=1)
        reached = self._bootstrap.task.score(said[spoken], outcomes[spoken])
        return reached.value if reached.pairs else None

    def _over_trials(self, arm: Arm) -> tuple[float | None, np.ndarray | None, int]:
        if arm in self._numbers:
            numbers = self._numbers[arm]
            return fmean(numbers.values()), _resample_trials(numbers), len(numbers)
        means = self._mean_of(arm)
        return means.mean, means.resampled, len(self._said[arm])

    def _difference(self, first: Arm, second: Arm) -> tuple[float, np.ndarray] | None:
        """Difference of two arms in the trials, and of the patients, of which both say something."""
        if first in self._numbers:
            ours, theirs = self._numbers[first], self._numbers[second]
            change = {place: ours[place] - theirs[place] for place in ours.keys() & theirs.keys()}
            resampled = _resample_trials(change)
            return None if resampled is None else (fmean(change.values()), resampled)
        one, other = self._said[first], self._said[second]
        if _speak_of_the_same(one, other):
            ours, theirs = self._mean_of(first), self._mean_of(second)
        else:
            ours, theirs = self._bootstrap.difference(one, other)
        if ours.mean is None or theirs.mean is None:
            return None
        return ours.mean - theirs.mean, ours.resampled - theirs.resampled

    def _mean_of(self, arm: Arm) -> Means:
        if arm not in self._means:
            self._means[arm] = self._bootstrap.means(self._said[arm])
        return self._means[arm]


def _speak_of_the_same(one: Mapping[Place, Tensor], other: Mapping[Place, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[place].isnan().any(dim=1), other[place].isnan().any(dim=1)) for place in one
    )


def _resample_trials(numbers: Mapping[Place, float]) -> np.ndarray | None:
    """The mean over the trials, over and over again with other trials drawn; None for too few."""
    if len(numbers) < FEWEST_TRIALS:
        return None
    values = np.array([numbers[place] for place in sorted(numbers)])
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    return values[drawn].mean(axis=1)
