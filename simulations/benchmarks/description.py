"""A dataset that this project has never seen, from a short TOML file to its patients."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from lego_core.component import explain
from lego_core.datasets import AbstractDataset, Dataset
from lego_core.datasets._listed import AbstractListedDataset
from lego_core.datasets._sheet import read_sheet
from lego_core.errors import DataError
from lego_core.records import Cohort

MOST_CLASSES_NAMED = 10  # more are counted: such a column may hold anything


@dataclass(frozen=True, slots=True)
class Described:
    """A dataset that was described by a file.

    Args:
        dataset: Its settings.
        cohort: Its patients.
        notes: What the file left open and the data decided, a sentence each.
    """

    dataset: AbstractDataset
    cohort: Cohort
    notes: tuple[str, ...]


def open_description(path: Path, *, folder: Path) -> Described:
    """Read a dataset by its settings: those of `Tables`, unless `kind` says otherwise.

    The classes of an outcome need not be listed: those of the table are taken, in order of
    the alphabet, or of size if all are numbers. Patients whose outcome is not known are left
    out, unless the file says otherwise.

    Args:
        path: The TOML file.
        folder: Where the dataset's own files lie.

    Raises:
        DataError: If the file cannot be read, does not describe a dataset, or does not fit the data.
    """
    where = f"The dataset description '{path.name}'"
    settings = {"kind": "tables", **_read_toml(path, where=where)}
    notes: list[str] = []
    if _lacks_classes(settings):
        outcome = {"column": "class", **settings["outcome"]}
        classes = _find_classes(settings, column=str(outcome["column"]), folder=folder)
        settings = {**settings, "outcome": {**outcome, "classes": classes}}
        notes.append(_classes_note(classes, column=outcome["column"]))
    try:
        dataset: AbstractDataset = TypeAdapter(Dataset).validate_python(settings)
    except ValidationError as error:
        raise explain(error, where=where, kind=DataError) from error
    if not isinstance(dataset, AbstractListedDataset):
        return Described(dataset, dataset.load(folder), ())
    if "ignore_unknown_outcomes" not in dataset.model_fields_set:
        dataset = dataset.model_copy(update={"ignore_unknown_outcomes": True})
    patients = dataset.read_patients(folder)
    if unknown := int((~patients.has_outcome).sum()):
        notes.append(f"{unknown} of {len(patients.ids)} patients have no known outcome and are left out.")
    return Described(dataset, dataset.load_of(patients), tuple(notes))


def _read_toml(path: Path, *, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{where} cannot be read. Give the path of a TOML file, or the name of a shipped dataset.",
            local=f"{path}: {error}",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where} is not TOML: {error}. Mend that line.") from error


def _lacks_classes(settings: dict[str, Any]) -> bool:
    """Whether the outcome is a class out of a patients table, and the classes are not listed."""
    kinds = get_args(get_args(Dataset)[0])
    listed = [kind.model_fields["kind"].default for kind in kinds if issubclass(kind, AbstractListedDataset)]
    outcome = settings.get("outcome")
    return (
        settings["kind"] in listed
        and isinstance(outcome, dict)
        and outcome.get("kind") == "class"
        and "classes" not in outcome
    )


def _find_classes(settings: dict[str, Any], *, column: str, folder: Path) -> list[str]:
    path = folder / str(settings.get("patients", "patients.csv"))
    sheet = read_sheet(path, what="The patients table", text={column})
    known = sheet.is_known(column)
    classes = {text for text, is_known in zip(sheet.texts(column), known, strict=True) if is_known}
    if not classes:
        raise sheet.refuse(
            f"Column '{column}' of the patients table holds no class for any of {len(known)} patients. Fill "
            "it in, or name another column as 'column' of the outcome.",
            columns=[column],
        )
    if len(classes) == 1:
        raise sheet.refuse(
            f"Column '{column}' of the patients table holds one class only, {sorted(classes)}, for "
            f"{known.sum()} of {len(known)} patients, and two are the least. Add patients of another class, "
            "or name another column as 'column' of the outcome.",
            columns=[column],
        )
    return _in_order(classes)


def _in_order(texts: set[str]) -> list[str]:
    try:
        return sorted(texts, key=float)
    except ValueError:
        return sorted(texts)


def _classes_note(classes: list[str], *, column: str) -> str:
    named = classes if len(classes) <= MOST_CLASSES_NAMED else "too many to be named here"
    return f"The {len(classes)} classes are those found in column '{column}': {named}."
