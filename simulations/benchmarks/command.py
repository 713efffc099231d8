"""What every command of `bench` does alike: it speaks, runs what is missing, writes results, and ends."""

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from lego_core.errors import LegoError
from simulations.benchmarks.progress import Progress, W
from simulations.benchmarks.results import AbstractResults
from simulations.benchmarks.store import write_whole
from simulations.benchmarks.workers import run_jobs

PIPE_WIDTH = 200
BAD_REQUEST = 2
STOPPED = 130
WRITTEN = ("results.json", "table.md", "figure.svg")


@contextmanager
def command() -> Iterator[Console]:
    """Where a command speaks; what goes wrong in it becomes a sentence and an exit code.

    Raises:
        typer.Exit: With 2 for a bad request, with 130 if it was stopped.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    try:
        yield console
    except LegoError as error:
        say(Console(stderr=True), filter(None, (error.public, error.local)))
        raise typer.Exit(BAD_REQUEST) from error
    except KeyboardInterrupt as error:
        say(console, ["Stopped. What is finished is kept; the same command goes on from there."])
        raise typer.Exit(STOPPED) from error


def say(console: Console, lines: Iterable[str]) -> None:
    """Print lines as they are, however long they are."""
    for line in lines:
        console.print(Text(line), soft_wrap=True)


def run_missing(run: Callable[[W], None], jobs: Sequence[W], *, processes: int, console: Console) -> None:
    """Do all jobs on several processes, and show how far they are."""
    if jobs:
        with Progress(jobs, processes=processes, console=console) as progress:
            run_jobs(run, jobs, processes=processes, progress=progress)


def write_down(results: AbstractResults, folder: Path, *, table: str) -> None:
    """Write `results.json` and `table.md`."""
    write_whole(folder / "results.json", results.model_dump_json(indent=1) + "\n")
    write_whole(folder / "table.md", table)
