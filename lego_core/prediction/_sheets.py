"""From a table to measurements, row by row: a row that cannot be read costs its own patient only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lego_core.datasets._assembly import Measured, one_row_each, rows_in_time
from lego_core.datasets._columns import is_no_category, zero_or_one
from lego_core.datasets._sheet import Sheet, too_large
from lego_core.prediction._patients import Problem, Source, lacking
from lego_core.records import ModalitySchema


@dataclass(frozen=True)
class RowsOf:
    """Where a modality stands in a table.

    Args:
        modality: Its name.
        schema: As the run agreed on it.
        id_column: Whose row it is.
        time_column: When it was taken, in days; for series.
    """

    modality: str
    schema: ModalitySchema
    id_column: str
    time_column: str = ""

    def read(self, sheet: Sheet) -> tuple[Source, list[Problem], list[str]]:
        """Give what can be read, what cannot, and what a reader must know of all.

        Raises:
            DataError: If the table has no column of identifiers, of times, or of features.
        """
        sheet.require([self.id_column, *([self.time_column] if self.time_column else [])])
        columns = _Columns.of(sheet, self.schema)
        missing = [name for name in self.schema.features if name not in columns.names]
        notices = lacking(missing, own=sheet.frame.columns, agreed=self.schema, modality=self.modality)
        ids = np.array(sheet.texts(self.id_column), dtype=object)
        reasons = self._reasons(sheet, columns, ids)
        bad = np.array([bool(reason) for reason in reasons])
        astray = np.isin(ids, ids[bad])
        problems = [
            Problem(ids[row], self.modality, f"{sheet.path.name}, row {row + 1}", reasons[row])
            for row in np.flatnonzero(bad)
        ]
        rest = replace(sheet, frame=sheet.frame.loc[~astray].reset_index(drop=True))
        return self._source(rest, ids[~astray].tolist(), columns), problems, notices

    def _source(self, sheet: Sheet, ids: list[str], columns: "_Columns") -> Source:
        measured = self._measured(sheet, ids, columns.values(sheet, self.schema))
        places = dict.fromkeys(measured.measurements, sheet.path.name)
        return Source(self.schema, places, measured.measurements.__getitem__)

    def _measured(self, sheet: Sheet, ids: list[str], values: np.ndarray) -> Measured:
        if not self.time_column:
            return one_row_each(ids, values, features=self.schema.features)
        if not ids:
            return Measured(self.schema, {})
        times = sheet.numbers([self.time_column])[:, 0]
        return rows_in_time(ids, values, times_days=times, features=self.schema.features)

    def _reasons(self, sheet: Sheet, columns: "_Columns", ids: np.ndarray) -> list[str]:
        """Why each row cannot be read; empty where it can."""
        reasons = [""] * len(ids)

        def note(rows: np.ndarray, reason: str) -> None:
            for row in np.flatnonzero(rows):
                reasons[row] = reasons[row] or reason

        note(ids == "", f"Column '{self.id_column}' is empty, so it is nobody's. Fill it in.")
        if not self.time_column:
            doubled = sheet.frame[self.id_column].duplicated(keep=False).to_numpy() & (ids != "")
            note(doubled, "The patient has another row in this table. Keep one row.")
        for column in [*columns.numeric, *([self.time_column] if self.time_column else [])]:
            text, numbers = sheet.texts_among_numbers(column)
            note(text, f"Column '{column}' holds text and should hold a number. Correct it, or empty it.")
            large = too_large(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
            note(large, f"Column '{column}' holds an infinite or immense number. Correct it, or empty it.")
            if column == self.time_column:
                note(numbers.isna().to_numpy(), f"Column '{column}' has no time. Fill it in, in days.")
        for column, texts in columns.categories.items():
            other = is_no_category(sheet, column, texts=texts)
            note(other, f"Column '{column}' holds none of {list(texts)}. Correct it, or empty it.")
        return reasons


@dataclass(frozen=True)
class _Columns:
    """The columns of a table that give a modality's features: numbers, and texts with a feature each."""

    numeric: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, sheet: Sheet, schema: ModalitySchema) -> "_Columns":
        """Find them: a feature is called like its column, or `sex=f` if the text `f` of `sex` gives it."""
        there = set(sheet.frame.columns)
        texts: dict[str, list[str]] = {}
        for name in schema.features:
            column, equals, text = name.partition("=")
            if name not in there and equals and column in there:
                texts.setdefault(column, []).append(text)
        return cls(
            tuple(name for name in schema.features if name in there),
            {column: tuple(listed) for column, listed in texts.items()},
        )

    @property
    def names(self) -> list[str]:
        """The features."""
        return [
            *self.numeric,
            *(f"{column}={text}" for column, own in self.categories.items() for text in own),
        ]

    def values(self, sheet: Sheet, schema: ModalitySchema) -> np.ndarray:
        """The features (rows, F) in the order of the schema; NaN where a column is missing."""
        parts = [sheet.numbers(self.numeric)]
        parts += [zero_or_one(sheet, column, texts=texts) for column, texts in self.categories.items()]
        nothing = np.full((len(sheet.frame), 1), np.nan)
        place = {name: index for index, name in enumerate(self.names)}
        order = [place.get(name, len(place)) for name in schema.features]
        return np.concatenate([*parts, nothing], axis=1)[:, order]


def text_columns(schemas: Sequence[ModalitySchema]) -> set[str]:
    """Columns that may hold the texts behind features such as `sex=f`."""
    return {name.partition("=")[0] for schema in schemas for name in schema.features if "=" in name}
