"""From columns of numbers to one record per patient."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lego_core.errors import DataError
from lego_core.records import Cohort, Measurement, ModalitySchema, Outcome, Part, PatientRecord


@dataclass(frozen=True, slots=True)
class Measured:
    """One modality of all patients who have it.

    Args:
        schema: Layout and features.
        measurements: By identifier of the patient.
    """

    schema: ModalitySchema
    measurements: Mapping[str, Measurement]

    def of(self, ids: Iterable[str]) -> "Measured":
        """Keep these patients, as far as they have the modality."""
        return Measured(
            self.schema, {name: self.measurements[name] for name in ids if name in self.measurements}
        )


def as_float32(values: np.ndarray) -> Tensor:
    """Copy numbers of any kind into a float32 tensor of their own."""
    return torch.tensor(values.astype(np.float32))


def one_row_each(ids: Sequence[str], values: np.ndarray, *, features: Sequence[str]) -> Measured:
    """Make a table modality: one row per patient."""
    schema = ModalitySchema(layout="table", features=tuple(features))
    rows = as_float32(values).split(1)
    return _held(schema, {patient_id: Measurement(row) for patient_id, row in zip(ids, rows, strict=True)})


def rows_in_time(
    ids: Sequence[str], values: np.ndarray, *, times_days: np.ndarray, features: Sequence[str]
) -> Measured:
    """Make a series modality of a long table, one identifier per row.

    Each patient's rows are put in order of time; rows of equal time stay as they were.
    """
    schema = ModalitySchema(layout="series", features=tuple(features))
    names, codes = np.unique(np.asarray(ids, dtype=object), return_inverse=True)
    order = np.lexsort((times_days, codes))
    lengths = np.bincount(codes).tolist()
    rows = as_float32(values[order]).split(lengths)
    times = as_float32(times_days[order]).split(lengths)
    return _held(schema, {name: Measurement(*parts) for name, *parts in zip(names, rows, times, strict=True)})


def whole_measurements(
    ids: Sequence[str], values: Sequence[np.ndarray], *, schema: ModalitySchema
) -> Measured:
    """Make a bag or image modality of one array (rows, F) per patient."""
    return _held(
        schema, {name: Measurement(as_float32(rows)) for name, rows in zip(ids, values, strict=True)}
    )


def _held(schema: ModalitySchema, measurements: Mapping[str, Measurement]) -> Measured:
    """Leave out patients of whom nothing at all was measured: they do not have the modality."""
    return Measured(schema, {name: m for name, m in measurements.items() if not m.values.isnan().all()})


def assemble(
    ids: Sequence[str],
    outcomes: np.ndarray,
    *,
    modalities: Mapping[str, Measured],
    hospitals: Sequence[str | None] | None = None,
    parts: Sequence[Part | None] | None = None,
) -> Cohort:
    """Make the cohort.

    Raises:
        DataError: If there are fewer than two patients: a number about a group of one is
            a number about that patient.
    """
    if len(ids) < 2:
        raise DataError(
            f"These data hold too few patients: {len(ids)}, and at least 2 are needed. "
            "Check that the settings name the right files."
        )
    nobody: list[None] = [None] * len(ids)
    columns = zip(ids, outcomes.tolist(), hospitals or nobody, parts or nobody, strict=True)
    records = tuple(
        PatientRecord(
            patient_id,
            {
                name: m.measurements[patient_id]
                for name, m in modalities.items()
                if patient_id in m.measurements
            },
            Outcome(tuple(float(value) for value in row)),
            hospital,
            part,
        )
        for patient_id, row, hospital, part in columns
    )
    return Cohort(records, {name: measured.schema for name, measured in modalities.items()})
