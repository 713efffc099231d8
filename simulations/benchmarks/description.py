"""A dataset that this project has never seen, from a short TOML file to patients."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from lego_core.component import explain
from lego_core.datasets import AbstractDataset, ClassOutcome, Dataset
from lego_core.datasets._listed import AbstractListedDataset
from lego_core.datasets._sheet import read_sheet
from lego_core.errors import DataError
from lego_core.records import Cohort

MANY_CLASSES = 10  # more are counted and not named


@dataclass(frozen=True, slots=True)
class Described:
    """A dataset as its description has it.

    Args:
        dataset: Its settings.
        cohort: Its patients.
        notes: What the description left to the data, and what was found there; a sentence each.
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
        DataError: If the file cannot be read, or does not describe a dataset, or does not fit
            the data.
    """
    where = f"The dataset description '{path.name}'"
    written = {"kind": "tables", **_read_toml(path, where=where)}
    classes = _classes_to_find(written)
    settings = _with_defaults(written, classes=classes and _found_classes(classes, folder=folder))
    try:
        dataset = TypeAdapter(Dataset).validate_python(settings)
    except ValidationError as error:
        raise explain(error, where=where, kind=DataError) from error
