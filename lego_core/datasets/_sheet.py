"""A table read from a file, and every complaint one can have about its columns."""

import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lego_core.errors import DataError

# What programs write into a cell of which nothing is known: R "NA", pandas "nan", databases "NULL".
UNKNOWN = frozenset(
    {"", "NA", "N/A", "n/a", "#NA", "#N/A", "#N/A N/A", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL"}
    | {"null", "None", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"}
)


@dataclass(frozen=True)
class Sheet:
    """A table as it was read.

    Args:
        frame: The rows. Text columns hold text, "" where nothing was written.
        what: What an error calls it; may leave the site.
        path: Where it lies; may not.
    """

    frame: pd.DataFrame
    what: str
    path: Path

    def refuse(self, public: str, *, rows: ArrayLike | None = None, columns: Sequence[str] = ()) -> DataError:
        """Make an error about this table; the first bad rows go to the local text only."""
        local = f"{self.path}, columns {list(columns)[:10]}"
        if rows is not None:
            bad = self.frame.loc[np.asarray(rows), list(columns)[:10]]
            local += f", {len(bad)} rows, the first:\n{bad.head(5).to_string()}"
        return DataError(public, local=local)

    def require(self, columns: Collection[str]) -> None:
        """Refuse a table that lacks any of these columns."""
        missing = [column for column in columns if column not in self.frame.columns]
        if missing:
            raise DataError(
                f"{self.what} lacks {len(missing)} columns that the settings name, the first are "
                f"{missing[:5]}. Check the spelling in the settings, or rebuild the table.",
                local=f"{self.path} has the columns {list(self.frame.columns)[:20]}",
            )

    def texts(self, column: str) -> list[str]:
        """Give a text column, "" where nothing was written."""
        self.require([column])
        return self.frame[column].tolist()

    def is_known(self, column: str, *, listed: Collection[str] = ()) -> np.ndarray:
        """Tell in which rows something is written that does not just mean that nothing is known.

        Args:
            column: The column.
            listed: Texts that mean something here, whatever they mean elsewhere.
        """
        self.require([column])
        cells = self.frame[column].astype(object)
        return (cells.notna() & ~cells.isin(list(UNKNOWN.difference(listed)))).to_numpy()

    def texts_among_numbers(self, column: str) -> tuple[np.ndarray, pd.Series]:
        """Tell in which rows of a column text stands, and give its numbers, NaN where none is."""
        numbers = pd.Series(pd.to_numeric(self.frame[column].astype(object), errors="coerce"))
        return numbers.isna().to_numpy() & self.is_known(column), numbers

    def numbers(self, columns: Sequence[str]) -> np.ndarray:
        """Give columns as one float64 matrix, NaN where nothing was written.

        Raises:
            DataError: If a column holds text, or numbers that float32 cannot hold.
        """
        self.require(columns)
        chosen = self.frame.loc[:, list(columns)]
        kinds = zip(columns, chosen.dtypes.tolist(), strict=True)
        for column in [name for name, kind in kinds if not pd.api.types.is_numeric_dtype(kind)]:
            text, numbers = self.texts_among_numbers(column)
            if text.any():
                raise self.refuse(
                    f"{self.what} holds text in {text.sum()} of {len(text)} rows of column '{column}', which "
                    "should hold numbers. Correct these rows, or name the column under 'categories'.",
                    rows=text,
                    columns=[column],
                )
            chosen = chosen.assign(**{column: numbers})
        values = chosen.to_numpy(dtype=np.float64, na_value=np.nan)
        large = too_large(values)
        if large.any():
            wrong = [column for column, bad in zip(columns, large.T, strict=True) if bad.any()]
            raise self.refuse(
                f"{self.what} holds infinite or immense numbers in {len(wrong)} columns, the first is "
                f"'{wrong[0]}'. Leave a cell empty where nothing was measured.",
                rows=large.any(axis=1),
                columns=wrong,
            )
        return values


def too_large(values: np.ndarray) -> np.ndarray:
    """Tell which numbers are infinite, or would be as float32."""
    with np.errstate(over="ignore"):
        return np.isinf(values.astype(np.float32))


def read_sheet(path: Path, *, what: str, text: Collection[str] = ()) -> Sheet:
    """Read a CSV (also `.gz`, `.zip`) or parquet file.

    Args:
        path: The file.
        what: What an error calls it, as the start of a sentence.
        text: Columns to be read as they are written, so that "007" and "NA" stay what they are.

    Raises:
        DataError: If the file is not there, cannot be read, holds no rows, or has two columns of one name.
    """
    if not path.is_file():
        raise DataError(
            f"{what} is not there. Check the file name in the settings and the folder of the data.",
            local=str(path),
        )
    try:
        columns, frame = _read_parquet(path, text) if path.suffix == ".parquet" else _read_csv(path, text)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{what} cannot be read. Give a CSV file (plain, .gz or .zip) or a .parquet file that opens "
            "elsewhere.",
            local=f"{path}: {error}",
        ) from None
    sheet = Sheet(frame, what, path)
    doubled = [column for column, count in Counter(columns).items() if count > 1]
    if doubled:
        raise sheet.refuse(
            f"{what} has {len(doubled)} column names more than once, the first is '{doubled[0]}'. "
            "Give every column a name of its own.",
        )
    if frame.empty:
        raise sheet.refuse(f"{what} has no rows. Check the file, or take it out of the settings.")
    return sheet


def _read_csv(path: Path, text: Collection[str]) -> tuple[list[str], pd.DataFrame]:
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False)
    frame = pd.read_csv(path, low_memory=False, na_values=sorted(UNKNOWN), keep_default_na=False)
    row_names_were_made_up = not isinstance(frame.index, pd.RangeIndex)
    if row_names_were_made_up:  # pandas takes surplus cells for names of rows
        raise ValueError("rows have more cells than the line of column names")
    written = pd.read_csv(path, usecols=lambda column: column in text, dtype=str, na_filter=False)
    whole = frame.copy()  # lies in one piece, which is faster later
    return header.iloc[0].tolist(), whole.assign(**{str(column): written[column] for column in written})


def _read_parquet(path: Path, text: Collection[str]) -> tuple[list[str], pd.DataFrame]:
    frame = pd.read_parquet(path).rename(columns=str).reset_index(drop=True)
    columns = list(frame.columns)
    written = {c: _as_text(frame[c].tolist()) for c in text if columns.count(c) == 1}
    return columns, frame.assign(**written)


def _as_text(values: Sequence[Any]) -> list[str]:
    """Write 1.0 as "1", as a column of whole numbers with gaps means it, and nothing as ""."""
    whole = all(pd.isna(value) or (isinstance(value, float) and value.is_integer()) for value in values)
    return ["" if pd.isna(value) else str(int(value) if whole else value) for value in values]
