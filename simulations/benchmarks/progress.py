"""How far a benchmark is: the jobs that run, those that are done, and how long the rest may take."""

import time
from collections import defaultdict
from collections.abc import Sequence
from statistics import mean
from typing import Generic, Protocol, TypeVar, final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text


class Work(Protocol):
    """A piece of work that one process does from beginning to end; hashable."""

    @property
    def place(self) -> object:
        """In which trial, as people are told."""
        ...

    @property
    def name(self) -> str:
        """What it is about, in a word or two; work of one name takes about equally long."""
        ...


W = TypeVar("W", bound=Work)


@final
class Progress(Generic[W]):
    """Keep a terminal up to date; without one, print a line per job.

    Args:
        jobs: All that is to be done.
        processes: How many run at once.
        console: Where to show it.
    """

    def __init__(self, jobs: Sequence[W], *, processes: int, console: Console) -> None:
        self._left = list(jobs)
        self._all = len(jobs)
        self._processes = processes
        self._console = console
        self._begun = time.monotonic()
        self._running: dict[W, float] = {}
        self._took: dict[str, list[float]] = defaultdict(list)
        self._live = Live(console=console, transient=True, auto_refresh=False)

    def __enter__(self) -> "Progress[W]":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, job: W) -> None:
        """A job has begun."""
        self._running[job] = time.monotonic()

    def finished(self, job: W) -> None:
        """A job is done."""
        self._took[job.name].append(time.monotonic() - self._running.pop(job))
        self._left.remove(job)
        if not self._console.is_terminal:
            self._console.print(Text(f"{self._summary()}  {job.place}: {job.name}"), soft_wrap=True)

    def look(self) -> None:
        """Show what is going on now."""
        if self._console.is_terminal:
            self._live.update(self._shown(), refresh=True)

    def seconds_left(self) -> float | None:
        """How long the rest may take, by what jobs of the same name took; None before the first."""
        if not self._took:
            return None
        usual = mean(seconds for several in self._took.values() for seconds in several)
        typical = {name: mean(seconds) for name, seconds in self._took.items()}
        now = time.monotonic()
        needed = sum(typical.get(job.name, usual) for job in self._left)
        spent = sum(min(now - begun, typical.get(job.name, usual)) for job, begun in self._running.items())
        return (needed - spent) / self._processes

    def _shown(self) -> RenderableType:
        now = time.monotonic()
        lines = [
            Text(f"  {job.place}: {job.name}, {now - begun:.0f} s") for job, begun in self._running.items()
        ]
        return Group(Text(self._summary(), style="bold"), *lines)

    def _summary(self) -> str:
        left = self.seconds_left()
        rest = "" if left is None else f", about {_duration(left)} left"
        done = self._all - len(self._left)
        return f"{done} of {self._all} done in {_duration(time.monotonic() - self._begun)}{rest}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
