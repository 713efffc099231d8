"""`results.json`: everything a benchmark found, as one document."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from lego_core.component import Component
from lego_core.records import collate
from simulations.benchmarks.benchmark import Benchmark
from simulations.benchmarks.bootstrap import Bootstrap, Means, Tested, interval
from simulations.benchmarks.methods import BEST_BLOCK, ENSEMBLE, all_methods
from simulations.benchmarks.protocol import Place, is_mostly_complete
from simulations.benchmarks.rules import default_rule
from simulations.benchmarks.store import Record, Store

Verdict = Literal["above", "below", "no difference"]


@final
class Gain(Component):
    """Difference to another method, on trials and patients of whom both say something.

    Args:
        mean: Mean difference.
        ci95: Its interval, from the same resamples for both.
        verdict: `above` or `below` if the interval excludes zero.
    """

    mean: float
    ci95: tuple[float, float]
    verdict: Verdict


@final
class MethodResult(Component):
    """How one method did.

    Args:
        mean: Mean of the metric over the repeats; None if no trial worked.
        sd: Standard deviation over the repeats; None for fewer than two.
        ci95: Interval from resampling the patients.
        per_repeat: The metric of every repeat; None where no fold worked.
        seconds: Per trial, from data to predictions, on one thread; blocks included.
        parameters: Number of weights, mean over trials.
        gain_over_best_block: Difference to the best block.
        gain_over_ensemble: Difference to the ensemble.
        trials: In how many trials it worked.
        chosen: How often each modality was the best block on validation.
        failed: The trials in which it failed, with the reason.
    """

    mean: float | None
    sd: float | None
    ci95: tuple[float, float] | None
    per_repeat: tuple[float | None, ...]
    seconds: float | None
    parameters: int | None
    gain_over_best_block: Gain | None = None
    gain_over_ensemble: Gain | None = None
    trials: int
    chosen: dict[str, int] = Field(default={})
    failed: tuple[str, ...] = ()


@final
class Results(Component):
    """A benchmark's results.

    Args:
        dataset: Its name.
        metric: Name of the metric.
        methods: By name, in the order of the tables.
        default_rule: The merge rule that the plan itself uses, `merge:NAME`.
        protocol: How they were made, in words.
        notes: What a reader should know.
        quick: Whether it was only a quick look.
        command: The command that made them.
        date: When.
        versions: Of Python and of the libraries that compute.
    """

    dataset: str
    metric: str
    methods: dict[str, MethodResult]
    default_rule: str | None
    protocol: str
    notes: tuple[str, ...]
    quick: bool
    command: str
    date: str
    versions: dict[str, str]


def compute_methods(benchmark: Benchmark, wanted: Sequence[str]) -> dict[str, MethodResult]:
    """Score every method that has finished all trials; of others, those that are wanted."""
    store, places = benchmark.store, benchmark.protocol.places
    bootstrap = _bootstrap(benchmark)
    names = [
        name
        for name in all_methods(benchmark.subject.modalities)
        if name in wanted or all(store.has(place, name) for place in places)
    ]
    records = {name: _records(store, name, places) for name in names}
    said = {name: _predictions(store, name, records[name]) for name in names}
    return {
        name: _result(
            bootstrap.means(said[name]),
            records[name],
            gains={other: _gain(bootstrap, said[name], said.get(other)) for other in (BEST_BLOCK, ENSEMBLE)},
        )
        for name in names
    }


def describe_protocol(benchmark: Benchmark) -> str:
    """How the results were made, in two or three sentences."""
    protocol, subject = benchmark.protocol, benchmark.subject
    patients = f"{len(subject.cohort):,} patients"
    if protocol.folds == 1:
        how = f"{patients}, split by patient into 70/15/15 %, {protocol.repeats} times"
    else:
        how = f"{patients}, {protocol.folds}-fold cross-validation by patient, {protocol.repeats} times"
    if protocol.trials_per_repeat < protocol.folds:
        how += f" (only {protocol.trials_per_repeat} of the folds)"
    tested = (
        "Scored are the test patients who hold every modality."
        if is_mostly_complete(subject.cohort)
        else "Scored are all test patients; a block is scored on those who hold its modality, and a gain "
        "on the patients of whom both methods say something."
    )
    return (
        f"{how}, stratified by outcome. In the training of blocks every patient contributes one modality "
        f"only; fused models and baselines see all training patients with everything they hold. {tested}"
    )


def plan_rule(benchmark: Benchmark) -> str | None:
    """The method that is the plan's own way to merge."""
    rule = default_rule(benchmark.plan.merging)
    return rule and f"merge:{rule}"


def _bootstrap(benchmark: Benchmark) -> Bootstrap:
    cohort = benchmark.subject.cohort
    row_of = {record.patient_id: row for row, record in enumerate(cohort.records)}
    tested: dict[Place, Tested] = {}
    for place in benchmark.protocol.places:
        records = benchmark.trial(place).test.records
        rows = torch.tensor([row_of[record.patient_id] for record in records]).numpy()
        tested[place] = Tested(rows, collate(records, {}).outcomes)
    seed = benchmark.protocol.seed
    return Bootstrap(tested, patients=len(cohort), task=benchmark.plan.task, seed=seed)


def _records(store: Store, name: str, places: Sequence[Place]) -> dict[Place, Record]:
    return {place: store.record(place, name) for place in places if store.has(place, name)}


def _predictions(store: Store, name: str, records: Mapping[Place, Record]) -> dict[Place, Tensor]:
    return {
        place: store.predictions(place, name)[0] for place, record in records.items() if not record.failed
    }


def _gain(
    bootstrap: Bootstrap, own: Mapping[Place, Tensor], other: Mapping[Place, Tensor] | None
) -> Gain | None:
    if other is None or other is own:
        return None
    ours, theirs = bootstrap.difference(own, other)
    if ours.mean is None or theirs.mean is None:
        return None
    low, high = interval(ours.resampled - theirs.resampled)
    verdict: Verdict = "above" if low > 0 else "below" if high < 0 else "no difference"
    return Gain(mean=ours.mean - theirs.mean, ci95=(low, high), verdict=verdict)


def _result(
    means: Means, records: Mapping[Place, Record], *, gains: Mapping[str, Gain | None]
) -> MethodResult:
    known = [value for value in means.per_repeat if value is not None]
    worked = [record for record in records.values() if not record.failed]
    chosen = [record.chosen for record in worked if record.chosen]
    return MethodResult(
        mean=means.mean,
        sd=stdev(known) if len(known) > 1 else None,
        ci95=interval(means.resampled) if means.mean is not None else None,
        per_repeat=means.per_repeat,
        seconds=fmean(record.seconds for record in worked) if worked else None,
        parameters=round(fmean(record.parameters for record in worked)) if worked else None,
        gain_over_best_block=gains[BEST_BLOCK],
        gain_over_ensemble=gains[ENSEMBLE],
        trials=len(worked),
        chosen={name: chosen.count(name) for name in sorted(set(chosen))},
        failed=tuple(f"{place}: {record.failed}" for place, record in records.items() if record.failed),
    )
