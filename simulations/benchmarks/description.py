"""A dataset that this project has never seen, from a short TOML file to a plan with default settings."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lego_core.component import explain
from lego_core.datasets import (
    AbstractDataset,
    Bags,
    ClassOutcome,
    Dataset,
    LabelsOutcome,
    Synthetic,
    Tables,
)
from lego_core.datasets._sheet import read_sheet
from lego_core.datasets._synthetic_outcomes import SyntheticClass, SyntheticLabels
from lego_core.encoders import Encoder, Image, Patches, Tabular, TimeSeries
from lego_core.errors import DataError, PlanError
from lego_core.plan import ModalityPlan, RunPlan
from lego_core.privacy import NoPrivacy
from lego_core.records import Cohort, Layout
from lego_core.tasks import Classification, MultiLabel, Survival, Task

ENCODERS: dict[Layout, Encoder] = {
    "table": Tabular(),
    "series": TimeSeries(),
    "bag": Patches(),
    "image": Image(),
}
LISTED = ("tables", "bags")  # kinds of datasets with a table of patients


def read_description(path: Path, *, folder: Path) -> AbstractDataset:
    """Read a dataset's settings: those of `Tables`, unless `kind` says otherwise.

    The classes of an outcome need not be listed: those of the table are taken, in order of
    the alphabet, or of size if all are numbers. Patients whose outcome is not known are left
    out, unless the file says otherwise.

    Args:
        path: The TOML file.
        folder: Where the dataset's own files lie.

    Raises:
        DataError: If the file cannot be read, or does not describe a dataset.
    """
    where = f"The dataset description '{path.name}'"
    try:
        settings = {"kind": "tables", **tomllib.loads(path.read_text(encoding="utf-8"))}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{where} cannot be read. Give the path of a TOML file, or the name of a shipped dataset.",
            local=f"{path}: {error}",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where} is not TOML: {error}. Mend that line.") from error
    try:
        return TypeAdapter(Dataset).validate_python(_with_defaults(settings, folder=folder))
    except ValidationError as error:
        raise explain(error, where=where, kind=DataError) from error


def count_listed(dataset: AbstractDataset, cohort: Cohort, *, folder: Path) -> int:
    """How many patients there are, with those who were left out for want of an outcome."""
    return len(dataset.read_patients(folder).ids) if isinstance(dataset, Tables | Bags) else len(cohort)


def default_plan(name: str, dataset: AbstractDataset, cohort: Cohort) -> RunPlan:
    """Make a plan of the default settings: the task from the outcome, encoders from the layouts.

    Raises:
        PlanError: If the dataset's settings do not tell what is predicted.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "dataset"
    modalities = {
        modality: ModalityPlan(encoder=ENCODERS[schema.layout]) for modality, schema in cohort.schemas.items()
    }
    return RunPlan(
        name=slug, task=_task_of(dataset), privacy=NoPrivacy(kind="no-privacy"), modalities=modalities
    )


def _with_defaults(settings: dict[str, Any], *, folder: Path) -> dict[str, Any]:
    if settings["kind"] not in LISTED:
        return settings
    settings = {"ignore-unknown-outcomes": True, **settings}
    outcome = settings.get("outcome")
    if not isinstance(outcome, dict) or outcome.get("kind") != "class" or "classes" in outcome:
        return settings
    column = str(outcome.get("column", "class"))
    patients = folder / str(settings.get("patients", "patients.csv"))
    texts = set(read_sheet(patients, what="The patients table", text={column}).texts(column)) - {""}
    return {**settings, "outcome": {**outcome, "classes": _in_order(texts)}}


def _in_order(texts: set[str]) -> list[str]:
    try:
        return sorted(texts, key=float)
    except ValueError:
        return sorted(texts)


def _task_of(dataset: AbstractDataset) -> Task:
    if dataset.classes_in_order:
        return Classification(classes=dataset.classes_in_order)
    if isinstance(dataset, Tables | Bags | Synthetic):
        match dataset.outcome:
            case ClassOutcome(classes=classes):
                return Classification(classes=classes)
            case SyntheticClass(classes=number):
                return Classification(classes=tuple(f"class {index}" for index in range(number)))
            case LabelsOutcome(columns=columns):
                return MultiLabel(labels=columns)
            case SyntheticLabels(labels=number):
                return MultiLabel(labels=tuple(f"label {index}" for index in range(number)))
            case _:
                return Survival()
    raise PlanError(
        "The dataset's description does not tell what is predicted. Name a plan that has its task with "
        "--plan PLAN."
    )
