"""Benchmarks of small made-up datasets, run in this process."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tiny_files import TASKS, tiny_dataset, tiny_plan

from lego_core.errors import DataError
from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import TrainingSettings
from simulations.baselines import AbstractBaseline, Fitted
from simulations.benchmarks.benchmark import Benchmark, run_job
from simulations.benchmarks.protocol import Protocol
from simulations.benchmarks.results import Results
from simulations.benchmarks.subject import Source, open_subject
from simulations.benchmarks.summary import summarise

LEGO = ["best-block", "ensemble", "merge:harmonic-mean", "fuse:stack"]
TEN_LINES = """
patients = "people.csv"
id-column = "id"
outcome = { kind = "class", column = "fate" }
[modalities.blood]
layout = "table"
features = ["a", "b"]
[modalities.visits]
layout = "series"
file = "visits.csv"
time-column = "day"
"""


def write_people(folder: Path, fates: Sequence[str]) -> None:
    """A table of patients and a table of visits; what they show has to do with the fate."""
    rng = np.random.default_rng(0)
    sick = np.array([fate == max(fates) for fate in fates])
    ids = [f"00{index}" for index in range(len(fates))]
    people = pd.DataFrame({"id": ids, "fate": fates, "a": sick + rng.normal(size=len(ids)), "b": 1.0})
    people.to_csv(folder / "people.csv", index=False)
    visits = pd.DataFrame({"id": ids * 2, "day": np.repeat([0, 30], len(ids))})
    visits["value"] = np.tile(sick, 2) + rng.normal(size=len(visits))
    visits.to_csv(folder / "visits.csv", index=False)


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def tiny_source(folder: Path, kind: str = "survival") -> Source:
    dataset = tiny_dataset("one", "two", patients=60, outcome=f'{{ kind = "{kind}" }}')
    return Source(
        dataset=write(folder / "small.toml", dataset),
        plan=write(folder / "tiny-plan.toml", tiny_plan("one", "two", task=TASKS[kind])),
    )


def prepare(source: Source, folder: Path, *, repeats: int = 1, quick: bool = False) -> Benchmark:
    patients = len(open_subject(source).cohort)
    protocol = Protocol.for_cohort(patients, repeats=repeats, seed=0, quick=quick)
    benchmark = Benchmark(source=source, protocol=protocol, quick=quick, folder=folder)
    benchmark.store.claim(benchmark.settings())
    return benchmark


def run_here(benchmark: Benchmark, methods: Sequence[str]) -> Results:
    for job in benchmark.jobs(methods):
        run_job(benchmark, job)
    return summarise(benchmark, methods).results


class Guess(AbstractBaseline):
    """Says the same of everybody, or fails."""

    kind: str = "guess"
    problem: str = ""

    def _fit(
        self, train: Cohort, validation: Cohort, *, task: Task, settings: TrainingSettings, seed: int
    ) -> Fitted:
        if self.problem == "value":
            raise ValueError("all samples are censored")
        if self.problem == "data":
            raise DataError("Nothing can be learned.")
        if self.problem == "program":
            raise TypeError("a baseline that is written wrongly")
        width = task.predict(torch.zeros(1, task.num_outputs)).shape[1]
        return Same(torch.full((width,), torch.nan if self.problem == "nan" else 0.5))


class Same:
    """One prediction for all."""

    num_parameters = 1

    def __init__(self, prediction: torch.Tensor) -> None:
        self.prediction = prediction

    def predict(self, cohort: Cohort) -> torch.Tensor:
        return self.prediction.expand(len(cohort), -1)
