"""One benchmark as a document, and one job of it: some methods in one trial."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lego_core.errors import LegoError, RunError
from lego_core.plan import Fuse, RunPlan
from simulations.benchmarks.blocks import Bench
from simulations.benchmarks.methods import baseline_name, block_name, is_baseline
from simulations.benchmarks.models import QUICK_EPOCHS, QUICK_PATIENCE, check_finite, fit_baseline
from simulations.benchmarks.protocol import Place, Protocol, Trial
from simulations.benchmarks.store import Answer, Record, Store
from simulations.benchmarks.subject import Source, Subject, open_subject


@dataclass(frozen=True, slots=True)
class Job:
    """Methods that one process tries in one trial, one after the other.

    Args:
        place: Which trial.
        methods: Names; the blocks come before what is made of them.
    """

    place: Place
    methods: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is about, in a word or two."""
        return self.methods[0] if is_baseline(self.methods[0]) else "blocks, merges, fuse"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What is benchmarked, and where it is kept.

    Args:
        source: The dataset and the plan.
        protocol: The splits.
        quick: Whether training is cut short, for a first look.
        folder: Where results are kept.
    """

    source: Source
    protocol: Protocol
    quick: bool
    folder: Path

    @property
    def store(self) -> Store:
        """What it has found so far."""
        return Store(self.folder)

    @property
    def subject(self) -> Subject:
        """The patients and the plan; read once per process."""
        return open_subject(self.source)

    @property
    def plan(self) -> RunPlan:
        """The plan, with less training for a quick look."""
        plan = self.subject.plan
        if not self.quick:
            return plan
        shorter = {
            "epochs": min(plan.training.epochs, QUICK_EPOCHS),
            "patience": min(plan.training.patience, QUICK_PATIENCE),
        }
        return plan.model_copy(update={"training": plan.training.model_copy(update=shorter)})

    def settings(self) -> dict[str, Any]:
        """All that decides a trial, but for the code; a folder belongs to one of these.

        The number of repeats is not among it, so that more can be added later.
        """
        plan = self.plan.to_plain()
        keys = ("task", "modalities", "latent", "training", "merging")
        return {
            "dataset": self.subject.name,
            "patients": len(self.subject.cohort),
            "fingerprint": self.subject.fingerprint(),
            "folds": self.protocol.folds,
            "seed": self.protocol.seed,
            "quick": self.quick,
            **{key: plan.get(key) for key in keys},
            "fuse": (self.plan.fuse or Fuse()).to_plain(),
        }

    def jobs(self, methods: Sequence[str]) -> list[Job]:
        """What is still to be done, trial by trial.

        Our own methods share the blocks, so they are one job; every baseline is its own.
        """
        blocks = [block_name(modality) for modality in self.subject.modalities]
        own = [name for name in methods if not is_baseline(name)]
        together = [*blocks, *(name for name in own if name not in blocks)] if own else []
        groups = [together, *([name] for name in methods if is_baseline(name))]
        jobs: list[Job] = []
        for place in self.protocol.places:
            for group in groups:
                missing = tuple(name for name in group if not self.store.has(place, name))
                if missing:
                    jobs.append(Job(place=place, methods=missing))
        return jobs

    def trial(self, place: Place) -> Trial:
        """The patients of one trial."""
        return self.protocol.trial(self.subject.cohort, place, task=self.plan.task)


def run_job(benchmark: Benchmark, job: Job) -> None:
    """Try the methods of a job, and keep each result as soon as it is there.

    A method that fails is noted with its reason, and the others go on.
    """
    store, place = benchmark.store, job.place
    trial = benchmark.trial(place)
    try:
        task = trial.agreed(benchmark.plan.task)
    except LegoError as error:
        for method in job.methods:
            store.save_failure(place, method, error.public)
        return
    bench = Bench(benchmark.plan, trial, task, store)
    for method in job.methods:
        try:
            if is_baseline(method):
                answer = _baseline(method, bench, quick=benchmark.quick)
            else:
                answer = bench.answer(method)
        except LegoError as error:
            store.save_failure(place, method, error.public)
        else:
            store.save(place, method, answer)


def _baseline(method: str, bench: Bench, *, quick: bool) -> Answer:
    """Train a baseline on pooled, paired patients."""
    started = time.process_time()
    trial, task = bench.trial, bench.task
    try:
        fitted = fit_baseline(
            method.removeprefix(baseline_name("")), trial.train, trial.validation,
            plan=bench.plan, task=task, seed=trial.seed, quick=quick,
        )  # fmt: skip
        said = [fitted.predict(part) for part in (trial.test, trial.validation)]
    except (ArithmeticError, ValueError) as error:  # what numerical libraries raise if a fit goes wrong
        raise RunError(f"{type(error).__name__}: {error}") from error
    test, validation = (check_finite(predictions) for predictions in said)
    record = Record(seconds=time.process_time() - started, parameters=fitted.num_parameters)
    return Answer(test, validation, record)
