"""Datasets that have a table of patients: its settings, and how it becomes a cohort."""

from abc import abstractmethod
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import final, get_args

import numpy as np

from lego_core.datasets._assembly import Measured
from lego_core.datasets._contract import AbstractDataset
from lego_core.datasets._outcomes import ClassOutcome, OutcomeColumns
from lego_core.datasets._patients import Patients, identifiers
from lego_core.datasets._sheet import Sheet, read_sheet
from lego_core.records import Cohort, Part


class AbstractListedDataset(AbstractDataset):
    """Settings of the patients table, for datasets that have one; they only add how to `measure`.

    Args:
        patients: The file, one row per patient: CSV, .csv.gz, .csv.zip or .parquet.
        id_column: Identifiers, read as text ("007" stays "007").
        hospital_column: Where each was treated, if the table tells.
        part_column: `train`, `validation`, `test`, or nothing where the plan shall decide.
        outcome: The columns that tell what became of each.
        ignore_unlisted: Read past patients of other files who are not in this table.
            Refused by default, because most often their identifiers are written differently.
        ignore_unknown_outcomes: Leave out patients whose outcome has a cell that is empty or says
            NA. Refused by default, because most often it is known and was forgotten.
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

    @property
    def further_text_columns(self) -> tuple[str, ...]:
        """Columns of the patients table that modalities read as text."""
        return ()

    @final
    def load(self, folder: Path | None = None) -> Cohort:
        return self.load_of(self.read_patients(folder))

    @final
    def load_of(self, patients: Patients) -> Cohort:
        """Read what was measured in these patients, and put all together.

        Raises:
            DataError: If the files of a modality do not fit the settings or the patients.
        """
        return patients.assemble(self.measure(patients))

    @abstractmethod
    def measure(self, patients: Patients) -> dict[str, Measured]:
        """Read the modalities, by name."""

    def read_patients(self, folder: Path | None) -> Patients:
        """Read the table.

        Raises:
            DataError: If the table or an outcome cannot be read, or a patient is listed twice.
        """
        where = folder or Path()
        columns = (self.id_column, self.hospital_column, self.part_column)
        text = {column for column in columns if column is not None}
        text.update(self.outcome.text_columns, self.further_text_columns)
        sheet = read_sheet(where / self.patients, what="The patients table", text=text)
        has_outcome = self._has_outcome(sheet)
        return Patients(
            sheet=sheet,
            folder=where,
            id_column=self.id_column,
            ids=self._ids(sheet),
            has_outcome=has_outcome,
            outcomes=self.outcome.read(replace(sheet, frame=sheet.frame.loc[has_outcome])),
            hospitals=_texts_or_none(sheet, self.hospital_column),
            parts=_parts(sheet, self.part_column),
            reserved=frozenset(text.union(self.outcome.outcome_columns)),
            ignore_unlisted=self.ignore_unlisted,
        )

    def _has_outcome(self, sheet: Sheet) -> np.ndarray:
        known = self.outcome.is_known(sheet)
        if not (self.ignore_unknown_outcomes and known.any()):
            self.outcome.require_known(sheet)
        return known

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
