"""Studies of a small made-up dataset, run once for all tests that look at them."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from tiny_files import tiny_dataset, tiny_plan

from lego_core.records import Cohort
from simulations.benchmarks.protocol import Place
from simulations.benchmarks.studies import STUDIES, AbstractStudy
from simulations.benchmarks.studies._findings import summarise_study
from simulations.benchmarks.studies._results import StudyResults
from simulations.benchmarks.studies._run import prepare_study
from simulations.benchmarks.studies._work import StudyRun, run_step
from simulations.benchmarks.studies.growth import Growth
from simulations.benchmarks.subject import Source

README = Path(__file__).resolve().parents[2] / "simulations" / "benchmarks" / "README.md"
NAMES = ["one", "two", "three"]
PLACE = Place(1, 1)


@cache
def source() -> Source:
    folder = Path(mkdtemp(prefix="lego-studies-"))
    (folder / "small.toml").write_text(tiny_dataset(*NAMES, patients=150), encoding="utf-8")
    (folder / "tiny.toml").write_text(tiny_plan(*NAMES, depth=2), encoding="utf-8")
    return Source(dataset=str(folder / "small.toml"), plan=str(folder / "tiny.toml"))


def prepare(study: AbstractStudy, folder: Path) -> StudyRun:
    return prepare_study(study, source(), folder, repeats=1, seed=0, quick=True)


def run_here(study: AbstractStudy, folder: Path) -> tuple[StudyRun, StudyResults]:
    run = prepare(study, folder)
    for job in run.jobs():
        run_step(run, job)
    return run, summarise_study(run)


@cache
def finished(name: str) -> tuple[StudyRun, StudyResults]:
    study = Growth(patients=8) if name == "growth" else STUDIES[name]
    return run_here(study, Path(mkdtemp(prefix="lego-study-")) / name)


def ids_of(cohort: Cohort) -> set[str]:
    return {record.patient_id for record in cohort.records}
