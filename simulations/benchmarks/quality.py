"""The whole of `bench quality`: what is there is kept, what is missing is computed, all is shown."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lego_core.errors import LegoError
from simulations.benchmarks.benchmark import Benchmark, run_job
from simulations.benchmarks.figure import draw_forest
from simulations.benchmarks.methods import choose_methods, unfit_baselines
from simulations.benchmarks.progress import Progress
from simulations.benchmarks.protocol import Protocol
from simulations.benchmarks.results import Results
from simulations.benchmarks.store import write_whole
from simulations.benchmarks.subject import Source, open_subject
from simulations.benchmarks.summary import describe_protocol, summarise
from simulations.benchmarks.table import markdown, remarks, terminal
from simulations.benchmarks.workers import run_jobs

PIPE_WIDTH = 200
STOPPED = 130


def run_quality(
    source: Source,
    folder: Path,
    *,
    methods: Sequence[str] | None,
    repeats: int | None,
    processes: int,
    seed: int,
    quick: bool,
) -> int:
    """Compare the methods, and give the exit code: 0, 2 for a bad request, 130 if it was stopped."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    try:
        subject = open_subject(source)
        unfit = unfit_baselines(subject.cohort, task=subject.plan.task)
        wanted = choose_methods(methods, modalities=subject.modalities, unfit=unfit)
        protocol = Protocol.for_cohort(len(subject.cohort), repeats=repeats, seed=seed, quick=quick)
        benchmark = Benchmark(source=source, protocol=protocol, quick=quick, folder=folder)
        benchmark.store.claim(benchmark.settings())
        for note in subject.notes:
            console.print(Text(note), soft_wrap=True)
        console.print(Text(describe_protocol(benchmark)), soft_wrap=True)
        _run_missing(benchmark, wanted, processes=processes, console=console)
        _publish(summarise(benchmark, wanted), folder, console=console)
    except LegoError as error:
        for line in filter(None, (error.public, error.local)):
            Console(stderr=True).print(Text(line), soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print(Text("Stopped. What is finished is kept; the same command goes on from there."))
        return STOPPED
    return 0


def _run_missing(benchmark: Benchmark, wanted: Sequence[str], *, processes: int, console: Console) -> None:
    jobs = benchmark.jobs(wanted)
    if jobs:
        with Progress(jobs, processes=processes, console=console) as progress:
            run_jobs(partial(run_job, benchmark), jobs, processes=processes, progress=progress)


def _publish(results: Results, folder: Path, *, console: Console) -> None:
    """Write `results.json`, `table.md` and `figure.svg`, and show the table."""
    write_whole(folder / "results.json", results.model_dump_json(indent=1) + "\n")
    write_whole(folder / "table.md", markdown(results))
    draw_forest(results, folder / "figure.svg")
    console.print(terminal(results, width=console.width))
    for line in remarks(results):
        console.print(Text(line), soft_wrap=True)
    for name in ("results.json", "table.md", "figure.svg"):
        console.print(Text(str(folder / name)), soft_wrap=True)
