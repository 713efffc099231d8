"""The whole of `bench quality`: what is there is kept, what is missing is computed, all is shown."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from simulations.benchmarks.benchmark import Benchmark, run_job
from simulations.benchmarks.command import WRITTEN, command, run_missing, say, write_down
from simulations.benchmarks.figure import draw_forest
from simulations.benchmarks.methods import choose_methods, unfit_baselines
from simulations.benchmarks.protocol import Protocol
from simulations.benchmarks.store import save_arrays
from simulations.benchmarks.subject import Source, open_subject
from simulations.benchmarks.summary import Summary, describe_protocol, summarise
from simulations.benchmarks.table import markdown, remarks, terminal


def run_quality(
    source: Source,
    folder: Path,
    *,
    methods: Sequence[str] | None,
    repeats: int | None,
    processes: int,
    seed: int,
    quick: bool,
) -> None:
    """Compare the methods on one dataset, as a command."""
    with command() as console:
        subject = open_subject(source)
        unfit = unfit_baselines(subject.cohort, task=subject.plan.task)
        wanted = choose_methods(methods, modalities=subject.modalities, unfit=unfit)
        protocol = Protocol.for_cohort(len(subject.cohort), repeats=repeats, seed=seed, quick=quick)
        benchmark = Benchmark(source=source, protocol=protocol, quick=quick, folder=folder)
        benchmark.store.claim(benchmark.settings())
        say(console, (*subject.notes, describe_protocol(benchmark)))
        run_missing(partial(run_job, benchmark), benchmark.jobs(wanted), processes=processes, console=console)
        _publish(summarise(benchmark, wanted), folder, console=console)


def _publish(summary: Summary, folder: Path, *, console: Console) -> None:
    """Write `results.json`, `resampled.npz`, `table.md` and `figure.svg`, and show the table."""
    results = summary.results
    save_arrays(folder / "resampled.npz", summary.resampled)
    write_down(results, folder, table=markdown(results))
    draw_forest(results, folder / "figure.svg")
    console.print(terminal(results, width=console.width))
    say(console, (*remarks(results), *(str(folder / name) for name in WRITTEN)))
