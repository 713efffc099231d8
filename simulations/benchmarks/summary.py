"""From the predictions of all trials to numbers: means, intervals, gains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.records import collate
from simulations.benchmarks.benchmark import Benchmark
from simulations.benchmarks.bootstrap import Bootstrap, Means, Scored, interval
from simulations.benchmarks.methods import BEST_BLOCK, ENSEMBLE, all_methods, unfit_baselines
from simulations.benchmarks.protocol import Place, is_mostly_complete
from simulations.benchmarks.results import Gain, MethodResult, Results, Verdict
from simulations.benchmarks.rules import default_rule
from simulations.benchmarks.store import Record, Store


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """What a benchmark comes to.

    Args:
        results: For people and programs.
        resampled: The mean of every method on every resample of the patients, the same resamples
            for all, by which benchmarks of several datasets are put together.
    """

    results: Results
    resampled: Mapping[str, Float[np.ndarray, "R"]]


def summarise(benchmark: Benchmark, wanted: Sequence[str]) -> Summary:
    """Everything there is to tell of a benchmark whose trials are done.

    Args:
        benchmark: The benchmark.
        wanted: Methods to score; others that have finished every trial are scored as well.
    """
    subject, task = benchmark.subject, benchmark.plan.task
    unfit = unfit_baselines(subject.cohort, task=task)
    left_out = [f"{name} is left out. {reason}" for name, reason in unfit.items()]
    methods, resampled = _score_methods(benchmark, wanted)
    results = Results(
        dataset=subject.name,
        metric=task.metric,
        methods=methods,
        default_rule=_plan_rule(benchmark),
        protocol=describe_protocol(benchmark),
        notes=(*subject.notes, *left_out),
        quick=benchmark.quick,
    )
    return Summary(results, resampled)


def describe_protocol(benchmark: Benchmark) -> str:
    """How the results were made, in two or three sentences."""
    splits, tested = describe_splits(benchmark)
    return (
        f"{splits} In the training of blocks every patient contributes one modality only; fused models and "
        f"baselines see all training patients with everything they hold. {tested}"
    )


def describe_splits(benchmark: Benchmark) -> tuple[str, str]:
    """How the patients are split, and who of them is scored."""
    protocol, subject = benchmark.protocol, benchmark.subject
    patients = f"{len(subject.cohort):,} patients"
    times = "once" if protocol.repeats == 1 else f"{protocol.repeats} times"
    if protocol.folds == 1:
        how = f"{patients}, split by patient into 70/15/15 %, {times}"
    else:
        how = f"{patients}, {protocol.folds}-fold cross-validation by patient, {times}"
    if protocol.trials_per_repeat < protocol.folds:
        how += f" (only {protocol.trials_per_repeat} of the folds)"
    tested = (
        "Scored are the test patients who hold every modality."
        if is_mostly_complete(subject.cohort)
        else "Scored are all test patients; a block is scored on those who hold its modality, and a gain "
        "on the patients of whom both methods say something."
    )
    return f"{how}, stratified by outcome.", tested


def _score_methods(
    benchmark: Benchmark, wanted: Sequence[str]
) -> tuple[dict[str, MethodResult], dict[str, Float[np.ndarray, "R"]]]:
    """Score every method that has finished all trials; of others, those that are wanted."""
    store, places = benchmark.store, benchmark.protocol.places
    bootstrap = make_bootstrap(benchmark)
    names = [
        name
        for name in all_methods(benchmark.subject.modalities)
        if name in wanted or all(store.has(place, name) for place in places)
    ]
    records = {name: _records(store, name, places) for name in names}
    said = {name: _predictions(store, name, records[name]) for name in names}
    means = {name: bootstrap.means(said[name]) for name in names}
    methods = {
        name: _result(
            means[name],
            records[name],
            patients=sum(int((~one.isnan().any(dim=1)).sum()) for one in said[name].values()),
            gains={other: _gain(bootstrap, said[name], said.get(other)) for other in (BEST_BLOCK, ENSEMBLE)},
        )
        for name in names
    }
    return methods, {name: one.resampled for name, one in means.items()}


def _plan_rule(benchmark: Benchmark) -> str | None:
    """The method that is the plan's own way to merge."""
    rule = default_rule(benchmark.plan.merging)
    return rule and f"merge:{rule}"


def make_bootstrap(benchmark: Benchmark) -> Bootstrap:
    """Resamples of a benchmark's patients, and who of them is tested where."""
    cohort = benchmark.subject.cohort
    row_of = {record.patient_id: row for row, record in enumerate(cohort.records)}
    tested: dict[Place, Scored] = {}
    for place in benchmark.protocol.places:
        records = benchmark.trial(place).test.records
        rows = torch.tensor([row_of[record.patient_id] for record in records]).numpy()
        tested[place] = Scored(rows, collate(records, {}).outcomes)
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
    return judge(ours.mean - theirs.mean, ours.resampled - theirs.resampled)


def judge(difference: float, resampled: Float[np.ndarray, "R"]) -> Gain:
    """A difference with its interval: above or below where this excludes zero."""
    low, high = interval(resampled)
    verdict: Verdict = "above" if low > 0 else "below" if high < 0 else "no difference"
    return Gain(mean=difference, ci95=(low, high), verdict=verdict)


def _result(
    means: Means, records: Mapping[Place, Record], *, patients: int, gains: Mapping[str, Gain | None]
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
        patients=patients,
        chosen={name: chosen.count(name) for name in sorted(set(chosen))},
        failed=tuple(f"{place}: {record.failed}" for place, record in records.items() if record.failed),
    )
