"""A study as pieces of work: which are to be done, and one of them done."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lego_core.errors import LegoError
from simulations.benchmarks.benchmark import Benchmark
from simulations.benchmarks.protocol import Place
from simulations.benchmarks.studies._contract import AbstractStudy
from simulations.benchmarks.studies._lab import Lab
from simulations.benchmarks.studies._notebook import Notebook


@dataclass(frozen=True, slots=True)
class StepJob:
    """One step of one trial."""

    place: Place
    name: str


@dataclass(frozen=True, slots=True)
class StudyRun:
    """A study of a dataset.

    Args:
        study: What is asked.
        benchmark: Patients, plan, splits, and the folder.
    """

    study: AbstractStudy
    benchmark: Benchmark

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study.to_plain()["kind"])

    @property
    def notebook(self) -> Notebook:
        """What it has measured so far."""
        return Notebook(self.benchmark.store)

    def settings(self) -> dict[str, Any]:
        """All that decides a measurement, but for the code; a folder belongs to one of these."""
        plan = self.benchmark.plan.to_plain()
        also = {key: plan.get(key) for key in ("rounds", "aggregation")}
        return {"study": self.study.to_plain(), **self.benchmark.settings(), **also}

    def jobs(self) -> list[StepJob]:
        """What is still to be done, trial by trial."""
        store = self.benchmark.store
        return [StepJob(place, step) for place, step in self._everything() if not store.has(place, step)]

    def finished(self) -> Iterator[tuple[Place, str]]:
        """What is done, well or not."""
        return ((place, step) for place, step in self._everything() if self.benchmark.store.has(place, step))

    def _everything(self) -> Iterator[tuple[Place, str]]:
        return ((place, step) for place in self.benchmark.protocol.places for step in self.study.steps())


def run_step(run: StudyRun, job: StepJob) -> None:
    """Do one step of one trial, and keep what it measured, or why it failed."""
    benchmark = run.benchmark
    trial = benchmark.trial(job.place)
    try:
        lab = Lab(benchmark.plan, trial, trial.agreed(benchmark.plan.task))
        measured = list(run.study.steps()[job.name](lab))
    except LegoError as error:
        run.notebook.write_failure(job.place, job.name, error.public)
    else:
        run.notebook.write(job.place, job.name, measured)
