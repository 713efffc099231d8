"""Predictions on the disk: whole or not at all, and never all of them in memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lego_core.errors import DataError
from lego_core.prediction._patients import Problem

SUFFIXES = (".csv", ".parquet")


class TableFile(Protocol):
    """A file that takes a table piece by piece."""

    def write(self, table: pd.DataFrame) -> None:
        """Add rows; the columns are those of the first piece."""


@contextmanager
def write_in_batches(path: Path) -> Iterator[TableFile]:
    """Write a table piece by piece; the file is there when all went well, and not before.

    Args:
        path: A `.csv` or `.parquet` file; one that was there is replaced.

    Raises:
        DataError: If it is called otherwise, or cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(
            f"'{path.name}' ends in '{path.suffix}', and predictions are written as {list(SUFFIXES)}. Give "
            "the output one of these endings."
        )
    unfinished = path.with_name(f".{path.name}.unfinished")
    file = _Csv(unfinished) if path.suffix == ".csv" else _Parquet(unfinished)
    try:
        yield file
        file.close()
        if unfinished.exists():
            _flush(unfinished)
            unfinished.replace(path)
    except OSError as error:
        why = (
            os.strerror(error.errno) if error.errno else "the disk gives no reason"
        )  # others' texts tell paths
        raise DataError(
            f"'{path.name}' cannot be written ({why}). Make room, or choose another folder.",
            local=f"{path}: {error}",
        ) from error
    finally:
        file.close()
        unfinished.unlink(missing_ok=True)


def write_problems(path: Path, problems: list[Problem]) -> None:
    """Write what could not be read or predicted; without any, a list of earlier ones goes."""
    if not problems:
        path.unlink(missing_ok=True)
        return
    names = [field.name for field in fields(Problem)]
    with write_in_batches(path) as file:
        file.write(pd.DataFrame([astuple(one) for one in problems], columns=names))


class _Csv:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.has_head = False

    def write(self, table: pd.DataFrame) -> None:
        mode = "a" if self.has_head else "w"
        table.to_csv(self.path, mode=mode, header=not self.has_head, index=False)
        self.has_head = True

    def close(self) -> None:
        """Nothing stays open."""


class _Parquet:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: pq.ParquetWriter | None = None

    def write(self, table: pd.DataFrame) -> None:
        if self.writer is None:
            schema = pa.Table.from_pandas(table, preserve_index=False).schema
            self.writer = pq.ParquetWriter(self.path, schema)
        rows = pa.Table.from_pandas(table, schema=self.writer.schema, preserve_index=False)
        self.writer.write_table(rows)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
