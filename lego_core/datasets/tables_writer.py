"""Write a cohort as the folder of files that `Tables` reads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from lego_core.datasets._bag_folder import BAG_KEY, BagFolder, numbered_features
from lego_core.datasets._columns import SeriesColumns, TableColumns
from lego_core.datasets._files import file_stem
from lego_core.datasets._image_folder import ImageFolder
from lego_core.datasets._outcomes import OutcomeColumns
from lego_core.datasets._pictures import PIXEL_KEY
from lego_core.datasets.tables import ModalityFiles, Tables
from lego_core.errors import DataError
from lego_core.records import Cohort, Measurement, ModalitySchema

FileFormat = Literal["csv", "parquet"]

_ID, _HOSPITAL, _PART, _TIME = "patient_id", "hospital", "part", "time_days"
_NINE_DIGITS = "%.9g"  # nine significant digits bring every float32 back


def write_tables(
    cohort: Cohort, folder: Path, *, outcome: OutcomeColumns, file_format: FileFormat = "csv"
) -> Tables:
    """Write a cohort's files.

    `patients.csv`, then per modality one table `<modality>.csv` (or `.parquet`), or a folder
    `<modality>/` with one `.npz` per patient for bags and images. Patients who lack a modality
    have no row and no file there.

    Args:
        cohort: What to write.
        folder: An empty or a new folder.
        outcome: What the outcomes are, and how their columns shall be called.
        file_format: `parquet` is smaller and faster for thousands of columns.

    Returns:
        The settings that read the folder.

    Raises:
        DataError: If the folder holds files already, if nobody holds anything, or if a feature
            is called like a column that the files need.

    Guarantees:
        The cohort that is read back holds the same patients in the same order with equal ids,
        outcomes, hospitals, parts, values and times, bit for bit, and the same schemas (before
        pandas 3.1, outcomes to 15 digits). Not kept: modalities that no patient holds,
        measurements without a single measured value, and the order of the rows of a series
        that are not in order of time.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError("The folder to write to is not empty. Name a new folder.", local=str(folder))
    held = {name: _held(cohort, name) for name in cohort.modalities if _held(cohort, name)}
    if not held:
        raise DataError("No patient of this cohort holds any modality. Write a cohort that holds some.")
    folder.mkdir(parents=True, exist_ok=True)
    columns = _patient_columns(cohort, outcome)
    files: dict[str, ModalityFiles] = {}
    for name, measurements in held.items():
        schema = cohort.schemas[name]
        _check_names(name, schema, taken={*columns, _ID, _HOSPITAL, _PART, _TIME})
        path = folder / file_stem(name)
        files[name] = (
            _write_arrays(measurements, path, schema=schema)
            if schema.layout in ("bag", "image")
            else _write_rows(measurements, path.with_name(f"{path.name}.{file_format}"), schema=schema)
        )
    pd.DataFrame(columns).to_csv(folder / "patients.csv", index=False)
    return Tables(
        outcome=outcome,
        id_column=_ID,
        hospital_column=_HOSPITAL if _HOSPITAL in columns else None,
        part_column=_PART if _PART in columns else None,
        modalities=files,
    )


def _held(cohort: Cohort, name: str) -> dict[str, Measurement]:
    return {
        record.patient_id: record.modalities[name] for record in cohort.records if name in record.modalities
    }


def _patient_columns(cohort: Cohort, outcome: OutcomeColumns) -> dict[str, Sequence[str | float | None]]:
    """Give the columns of `patients.csv`; hospital and part only where somebody has one."""
    optional = {
        _HOSPITAL: [record.hospital for record in cohort.records],
        _PART: [record.part for record in cohort.records],
    }
    return {
        _ID: [record.patient_id for record in cohort.records],
        **outcome.write(np.array([record.outcome.values for record in cohort.records], dtype=np.float64)),
        **{name: column for name, column in optional.items() if any(column)},
    }


def _check_names(name: str, schema: ModalitySchema, *, taken: set[str]) -> None:
    """Refuse names that a file could not give back."""
    if name == "patients":
        raise DataError("A modality is called 'patients', as the table of patients is. Rename the modality.")
    if schema.layout in ("bag", "image"):
        return
    counts = Counter(schema.features)
    odd = [f for f, count in counts.items() if count > 1 or f in taken or not f or f.startswith("Unnamed: ")]
    if odd:
        raise DataError(
            f"{len(odd)} features of modality '{name}' cannot be columns of a table, the first are "
            f"{odd[:5]}: they are doubled, or unnamed, or called like one of {sorted(taken)}. Rename them."
        )


def _write_rows(
    measurements: Mapping[str, Measurement], path: Path, *, schema: ModalitySchema
) -> ModalityFiles:
    parts = list(measurements.values())
    ids = np.repeat(np.array(list(measurements), dtype=object), [len(part.values) for part in parts])
    rows = pd.DataFrame(torch.cat([part.values for part in parts]).numpy(), columns=list(schema.features))
    times = [part.times_days for part in parts if part.times_days is not None]
    timed = pd.DataFrame({_ID: ids, **({_TIME: torch.cat(times).numpy()} if times else {})})
    frame = pd.concat([timed, rows], axis=1)
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, float_format=_NINE_DIGITS)
    file = Path(path.name)
    return (
        SeriesColumns(file=file, time_column=_TIME) if schema.layout == "series" else TableColumns(file=file)
    )


def _write_arrays(
    measurements: Mapping[str, Measurement], path: Path, *, schema: ModalitySchema
) -> ModalityFiles:
    path.mkdir()
    shape = (-1,) if schema.grid is None else schema.grid
    key = BAG_KEY if schema.layout == "bag" else PIXEL_KEY
    for patient_id, measurement in measurements.items():
        array = measurement.values.reshape(*shape, schema.num_features).numpy()
        np.savez(path / f"{file_stem(patient_id)}.npz", allow_pickle=False, **{key: array})
    folder = Path(path.name)
    if schema.grid is not None:
        return ImageFolder(folder=folder, size=schema.grid, features=schema.features)
    named = None if schema.features == numbered_features(schema.num_features) else schema.features
    return BagFolder(folder=folder, features=named)
