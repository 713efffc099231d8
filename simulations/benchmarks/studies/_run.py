"""The whole of `bench study`: what is there is kept, what is missing is measured, all is shown."""

from functools import partial
from pathlib import Path

from rich.console import Console

from lego_core.errors import PlanError
from simulations.benchmarks.benchmark import Benchmark
from simulations.benchmarks.command import WRITTEN, command, run_missing, say, write_down
from simulations.benchmarks.protocol import Protocol
from simulations.benchmarks.studies import STUDIES
from simulations.benchmarks.studies._contract import AbstractStudy
from simulations.benchmarks.studies._figures import save_figure
from simulations.benchmarks.studies._findings import summarise_study
from simulations.benchmarks.studies._results import StudyResults
from simulations.benchmarks.studies._table import markdown, terminal
from simulations.benchmarks.studies._work import StudyRun, run_step
from simulations.benchmarks.subject import Source, open_subject
from simulations.benchmarks.summary import describe_splits


def run_study(
    name: str,
    folder: Path,
    *,
    dataset: str | None,
    plan: str | None,
    data: Path | None,
    repeats: int | None,
    processes: int,
    seed: int,
    quick: bool,
) -> None:
    """Do a study, as a command."""
    with command() as console:
        study = find_study(name)
        source = Source(dataset=dataset or study.dataset, plan=plan, data=data)
        run = prepare_study(study, source, folder / name, repeats=repeats, seed=seed, quick=quick)
        say(console, (study.question, *run.benchmark.subject.notes, *describe_splits(run.benchmark)))
        run_missing(partial(run_step, run), run.jobs(), processes=processes, console=console)
        publish(run, summarise_study(run), console=console)


def find_study(name: str) -> AbstractStudy:
    """The study of this name.

    Raises:
        PlanError: If there is none; the text lists what there is.
    """
    if name not in STUDIES:
        known = "; ".join(f"{kind} ({study.question})" for kind, study in STUDIES.items())
        raise PlanError(f"There is no study '{name}'. The studies are: {known}.")
    return STUDIES[name]


def prepare_study(
    study: AbstractStudy, source: Source, folder: Path, *, repeats: int | None, seed: int, quick: bool
) -> StudyRun:
    """Settle what is measured, and claim the folder for it.

    Raises:
        LegoError: If the question cannot be asked of the data, or the folder holds something else.
    """
    subject = open_subject(source)
    study = study.quick() if quick else study
    study.check(subject.modalities)
    protocol = Protocol.for_cohort(len(subject.cohort), repeats=repeats, seed=seed, quick=quick)
    protocol = protocol.with_at_least(study.fewest_trials)
    run = StudyRun(study, Benchmark(source=source, protocol=protocol, quick=quick, folder=folder))
    run.benchmark.store.claim(run.settings())
    return run


def publish(run: StudyRun, results: StudyResults, *, console: Console) -> None:
    """Write `results.json`, `table.md` and `figure.svg`; show the table and the sentence."""
    folder = run.benchmark.folder
    write_down(results, folder, table=markdown(results))
    save_figure(run.study.figure(results), folder / "figure.svg", salt=results.study)
    console.print(terminal(results))
    say(console, (*results.notes, "", results.sentence, "", *(str(folder / name) for name in WRITTEN)))
