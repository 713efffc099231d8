"""Modalities that stand in the columns of a table: `table` and `series`."""

from fnmatch import fnmatchcase
from itertools import compress
from pathlib import Path
from typing import Literal, final

import numpy as np
from pydantic import Field, model_validator

from lego_core.component import Component
from lego_core.datasets._assembly import Measured, one_row_each, rows_in_time
from lego_core.datasets._patients import Patients, identifiers
from lego_core.datasets._sheet import Sheet, read_sheet


class AbstractColumns(Component):
    """Which columns of which file are the features of a modality.

    Args:
        file: The file; the patients table if not given.
        features: Columns of numbers, in order. With neither this nor `features_like`, all
            columns that have no other part to play.
        features_like: A pattern such as `*_rnaseq` for the columns, in the order of the file.
        categories: Columns of text, each with every text that may occur. Each becomes one
            column of 0 and 1 per text, named `sex=f`, behind the numbers; a cell that is
            empty or says NA becomes NaN in all of them.
    """

    file: Path | None = None
    features: tuple[str, ...] | None = None
    features_like: str | None = None
    categories: dict[str, tuple[str, ...]] = Field(default={})

    @model_validator(mode="after")
    def _check_one_choice(self) -> "AbstractColumns":
        if self.features is not None and self.features_like is not None:
            raise ValueError("features and features-like are both given; give one of them")
        return self

    def open_sheet(self, patients: Patients, *, name: str) -> Sheet:
        """Read the file, or take the patients table."""
        if self.file is None:
            return patients.sheet
        text = {patients.id_column, *self.categories}
        return read_sheet(patients.folder / self.file, what=f"The table of modality '{name}'", text=text)

    def read_features(self, sheet: Sheet, *, reserved: frozenset[str]) -> tuple[list[str], np.ndarray]:
        """Give names and values (rows, F) of the features.

        Raises:
            DataError: If columns are missing, hold what they should not, or if there are none.
        """
        names = self._numeric(sheet, reserved | set(self.categories))
        parts = [sheet.numbers(names)]
        for column, texts in self.categories.items():
            parts.append(zero_or_one(sheet, column, texts=texts))
            names = [*names, *(f"{column}={text}" for text in texts)]
        if not names:
            raise sheet.refuse(
                f"{sheet.what} has no column that is a feature. Name some under 'features', or check the "
                "pattern 'features-like'."
            )
        return names, np.concatenate(parts, axis=1)

    def _numeric(self, sheet: Sheet, reserved: frozenset[str]) -> list[str]:
        if self.features is not None:
            return list(self.features)
        free = [column for column in sheet.frame.columns if column not in reserved]
        if self.features_like is not None:
            return [column for column in free if fnmatchcase(column, self.features_like)]
        nameless = [column for column in free if not column or column.startswith("Unnamed: ")]
        if nameless:
            raise sheet.refuse(
                f"{sheet.what} has {len(nameless)} columns without a name, often row numbers. Take them out, "
                "or name the columns to read under 'features'."
            )
        return free


@final
class TableColumns(AbstractColumns):
    """A table: one row per patient."""

    layout: Literal["table"] = "table"

    def measure(self, patients: Patients, *, name: str) -> Measured:
        """Read the modality.

        Raises:
            DataError: If the file does not fit the settings or the patients.
        """
        sheet = self.open_sheet(patients, name=name)
        ids = identifiers(sheet, patients.id_column)
        doubled = sheet.frame[patients.id_column].duplicated(keep=False)
        if doubled.any():
            raise sheet.refuse(
                f"{sheet.what} holds {doubled.sum()} of {len(ids)} rows that share a patient with another. "
                'Give every patient one row, or read it with layout = "series".',
                rows=doubled,
                columns=[patients.id_column],
            )
        listed = patients.listed(ids, sheet=sheet)
        names, values = self.read_features(sheet, reserved=patients.reserved)
        return one_row_each(list(compress(ids, listed)), values[listed], features=names)


@final
class SeriesColumns(AbstractColumns):
    """A series: one row per patient and point in time, in any order.

    Args:
        time_column: Days from the patient's own start.
    """

    layout: Literal["series"] = "series"
    time_column: str

    def measure(self, patients: Patients, *, name: str) -> Measured:
        """Read the modality.

        Raises:
            DataError: If the file does not fit the settings or the patients, or a row has no time.
        """
        sheet = self.open_sheet(patients, name=name)
        listed = patients.listed(ids := identifiers(sheet, patients.id_column), sheet=sheet)
        names, values = self.read_features(sheet, reserved=patients.reserved | {self.time_column})
        times_days = sheet.numbers([self.time_column])[:, 0]
        timeless = np.isnan(times_days)
        if timeless.any():
            raise sheet.refuse(
                f"{sheet.what} has no time in {timeless.sum()} of {len(ids)} rows. Fill in column "
                f"'{self.time_column}' in days, or take these rows out.",
                rows=timeless,
                columns=[self.time_column],
            )
        listed_ids = list(compress(ids, listed))
        return rows_in_time(listed_ids, values[listed], times_days=times_days[listed], features=names)


def is_no_category(sheet: Sheet, column: str, *, texts: tuple[str, ...]) -> np.ndarray:
    """Tell in which rows of a column of text something else stands than its categories, or nothing."""
    written = np.array(sheet.texts(column), dtype=object)
    return sheet.is_known(column, listed=texts) & ~np.isin(written, texts)


def zero_or_one(sheet: Sheet, column: str, *, texts: tuple[str, ...]) -> np.ndarray:
    """Make one column of 0 and 1 of every category; NaN in all of them where nothing is known.

    Raises:
        DataError: If something else is written.
    """
    written = np.array(sheet.texts(column), dtype=object)
    known = sheet.is_known(column, listed=texts)
    other = is_no_category(sheet, column, texts=texts)
    if other.any():
        raise sheet.refuse(
            f"{sheet.what} holds none of the categories {list(texts)} in {other.sum()} of {len(other)} rows "
            f"of column '{column}'. Correct these rows, or list every category in the settings.",
            rows=other,
            columns=[column],
        )
    values = (written[:, None] == np.array(texts, dtype=object)).astype(np.float64)
    values[~known] = np.nan
    return values
