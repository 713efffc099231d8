"""The table with one row per patient: who there is, and what became of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from lego_core.datasets._contract import AbstractDataset
from lego_core.datasets._files import patient_of
from lego_core.datasets._outcomes import ClassOutcome, OutcomeColumns
from lego_core.datasets._sheet import Sheet, read_sheet
from lego_core.errors import DataError
from lego_core.records import Part


@dataclass(frozen=True)
class Patients:
    """The patients of a cohort, as their table lists them.

    Args:
        sheet: The table.
        folder: Where the data lie.
        id_column: The column of identifiers, here and in every other table.
        ids: One per patient, each once.
        outcomes: Rows of `Outcome.values`; NaN for patients who are to be left out for want of one.
        hospitals: Where each was treated, or None.
        parts: The part of the split each belongs to, or None.
        reserved: Columns that are no measurements.
        ignore_unlisted: Whether other files may speak of patients who are not in this table.
    """

    sheet: Sheet
    folder: Path
    id_column: str
    ids: list[str]
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

    def with_outcome(self) -> "Patients":
        """Leave out patients without an outcome; for use after other files were read."""
        known = [not np.isnan(row).any() for row in self.outcomes]
        return replace(
            self,
            ids=list(compress(self.ids, known)),
            outcomes=self.outcomes[known],
            hospitals=list(compress(self.hospitals, known)),
            parts=list(compress(self.parts, known)),
        )


class AbstractListedDataset(AbstractDataset):
    """Settings of the patients table, for datasets that have one.

    Args:
        patients: The file, one row per patient: CSV, .csv.gz, .csv.zip or .parquet.
        id_column: Identifiers, read as text ("007" stays "007").
        hospital_column: Where each was treated, if the table tells.
        part_column: `train`, `validation`, `test`, or nothing where the plan shall decide.
        outcome: The columns that tell what became of each.
        ignore_unlisted: Read past patients of other files who are not in this table.
            Refused by default, because most often their identifiers are written differently.
        ignore_unknown_outcomes: Leave out patients whose outcome has an empty cell. Refused by
            default, because most often it is known and was forgotten.
    """

    patients: Path = Path("patients.csv")
    id_column: str = "patient_id"
    hospital_column: str | None = None
    part_column: str | None = None
    outcome: OutcomeColumns
    ignore_unlisted: bool = False
    ignore_unknown_outcomes: bool = False

    @property
    def classes_in_order(self) -> tuple[str, ...] | None:
        """As the outcome lists them, if it is a class."""
        return self.outcome.classes if isinstance(self.outcome, ClassOutcome) else None

    def read_patients(self, folder: Path | None, *, also_text: Sequence[str] = ()) -> Patients:
        """Read the table.

        Args:
            folder: Where the data lie.
            also_text: Further columns that hold text.

        Raises:
            DataError: If the table or an outcome cannot be read, or a patient is listed twice.
        """
        where = folder or Path()
        columns = (self.id_column, self.hospital_column, self.part_column)
        text = {column for column in columns if column is not None} | {*self.outcome.text_columns, *also_text}
        sheet = read_sheet(where / self.patients, what="The patients table", text=text)
        return Patients(
            sheet=sheet,
            folder=where,
            id_column=self.id_column,
            ids=self._ids(sheet),
            outcomes=self._outcomes(sheet),
            hospitals=_texts_or_none(sheet, self.hospital_column),
            parts=_parts(sheet, self.part_column),
            reserved=frozenset(text.union(self.outcome.outcome_columns)),
            ignore_unlisted=self.ignore_unlisted,
        )

    def _outcomes(self, sheet: Sheet) -> np.ndarray:
        known = self.outcome.is_known(sheet)
        if not self.ignore_unknown_outcomes or not known.any():
            return self.outcome.read(sheet)
        rows = self.outcome.read(replace(sheet, frame=sheet.frame.loc[known]))
        outcomes = np.full((len(known), rows.shape[1]), np.nan)
        outcomes[known] = rows
        return outcomes

    def _ids(self, sheet: Sheet) -> list[str]:
        ids = identifiers(sheet, self.id_column)
        doubled = sheet.frame[self.id_column].duplicated(keep=False)
        if doubled.any():
            columns = [self.id_column, *([self.part_column] if self.part_column else [])]
            sheet.require(columns)
            in_parts = Counter(sheet.frame.loc[doubled, columns].drop_duplicates()[self.id_column].tolist())
            astray = [patient_id for patient_id, parts in in_parts.items() if parts > 1]
            raise sheet.refuse(
                f"{doubled.sum()} of {len(ids)} rows of the patients table share an identifier with another "
                f"row, and {len(astray)} patients are in more than one part of the split. Give every patient "
                "one row, in one part.",
                rows=doubled,
                columns=columns,
            )
        return ids


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


def _texts_or_none(sheet: Sheet, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * len(sheet.frame)
    return [text or None for text in sheet.texts(column)]


def _parts(sheet: Sheet, column: str | None) -> list[Part | None]:
    texts = _texts_or_none(sheet, column)
    known = {None: None, **{part: part for part in get_args(Part)}}
    other = np.array([text not in known for text in texts])
    if other.any():
        raise sheet.refuse(
            f"Column '{column}' of the patients table is none of {list(get_args(Part))} and not empty for "
            f"{other.sum()} of {len(texts)} patients. Write one of them, or leave the cell empty.",
            rows=other,
            columns=[str(column)],
        )
    return [known[text] for text in texts]
