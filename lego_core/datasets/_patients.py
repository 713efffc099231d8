"""The table with one row per patient: who there is, and what became of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from lego_core.datasets._assembly import Measured, assemble
from lego_core.datasets._files import patient_of
from lego_core.datasets._sheet import Sheet
from lego_core.errors import DataError
from lego_core.records import Cohort, Part

T = TypeVar("T")


@dataclass(frozen=True)
class Patients:
    """The patients of a cohort, as their table lists them.

    Args:
        sheet: The table.
        folder: Where the data lie.
        id_column: The column of identifiers, here and in every other table.
        ids: One per patient, each once.
        has_outcome: False for those who are to be left out of the cohort for want of one.
        outcomes: Rows of `Outcome.values` of all others.
        hospitals: Where each was treated, or None.
        parts: The part of the split each belongs to, or None.
        reserved: Columns that are no measurements.
        ignore_unlisted: Whether other files may speak of patients who are not in this table.
    """

    sheet: Sheet
    folder: Path
    id_column: str
    ids: list[str]
    has_outcome: np.ndarray
    outcomes: np.ndarray
    hospitals: list[str | None]
    parts: list[Part | None]
    reserved: frozenset[str]
    ignore_unlisted: bool

    def listed(self, ids: Sequence[str], *, sheet: Sheet) -> np.ndarray:
        """Tell which rows of another table are about patients of this one.

        Raises:
            DataError: If some are not, and the settings do not allow it, or if none is.
        """
        known = pd.Index(ids).isin(self.ids)
        if not known.any() or not (known.all() or self.ignore_unlisted):
            raise sheet.refuse(
                f"{sheet.what} holds {(~known).sum()} of {len(known)} rows for patients who are not in the "
                "patients table. Check that identifiers are written alike (leading zeros), take the rows "
                "out, or set ignore-unlisted = true.",
                rows=~known,
                columns=[self.id_column],
            )
        return known

    def listed_files(self, files: Sequence[Path], *, what: str) -> list[Path]:
        """Keep the files of patients who are in the table.

        Raises:
            DataError: If some are not, and the settings do not allow it, or if nobody is.
        """
        ids = set(self.ids)
        known = [path for path in files if patient_of(path) in ids]
        if not known or not (len(known) == len(files) or self.ignore_unlisted):
            raise DataError(
                f"{what} holds {len(files) - len(known)} of {len(files)} files for patients who are not in "
                "the patients table. Check that files are called by the identifier, take them out, or set "
                "ignore-unlisted = true.",
                local=f"first: {[str(path) for path in files if path not in known][:5]}",
            )
        return known

    def assemble(self, modalities: Mapping[str, Measured]) -> Cohort:
        """Make the cohort of those who have an outcome; other files may speak of all."""
        return assemble(
            self._with_outcome(self.ids),
            self.outcomes,
            modalities=modalities,
            hospitals=self._with_outcome(self.hospitals),
            parts=self._with_outcome(self.parts),
        )

    def _with_outcome(self, values: Sequence[T]) -> list[T]:
        return [value for value, known in zip(values, self.has_outcome, strict=True) if known]


def identifiers(sheet: Sheet, column: str) -> list[str]:
    """Give the identifier of every row.

    Raises:
        DataError: If a row has none.
    """
    ids = sheet.texts(column)
    absent = np.array([not patient_id for patient_id in ids])
    if absent.any():
        raise sheet.refuse(
            f"{sheet.what} has no identifier in {absent.sum()} of {len(ids)} rows. Fill in column "
            f"'{column}'.",
            rows=absent,
            columns=[column],
        )
    return ids
