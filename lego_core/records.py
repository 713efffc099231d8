"""What one patient is, what a cohort is, and how patients become a batch.

Every modality, whatever it measures, is rows by features: a table is one row, a time
series one row per visit, a bag one row per patch, an image one row per pixel (in reading
order, its channels the features). What was not measured is NaN in a record and a mask in
a batch, so that no model ever takes "absent" for a number.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lego_core.component import Component
from lego_core.errors import DataError

Layout = Literal["table", "series", "bag", "image"]
Part = Literal["train", "validation", "test"]


class ModalitySchema(Component):
    """What every patient's measurement of one modality looks like.

    Args:
        layout: How rows are to be read: `table` (one row), `series` (rows in time),
            `bag` (rows without order), `image` (rows are pixels).
        features: Names of the F columns, in order.
        grid: Height and width in pixels; for images only.
    """

    layout: Layout
    features: tuple[str, ...]
    grid: tuple[int, int] | None = None

    @property
    def num_features(self) -> int:
        """Number of columns F."""
        return len(self.features)


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """One modality of one patient.

    Args:
        values: Rows by features (T, F), float32; NaN where nothing was measured.
        times_days: When each row was taken (T,), in days from the patient's own start;
            for series only.
    """

    values: Tensor
    times_days: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a patient, as the row of numbers a task reads.

    Survival: `(time_days, event)` with event 1.0 if it was seen and 0.0 if the patient
    left first (right-censored). Classification: `(class index,)`. Multi-label: one 0.0
    or 1.0 per label.
    """

    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PatientRecord:
    """One patient: an identifier that never leaves the site, measurements, an outcome.

    Args:
        patient_id: The site's own identifier.
        modalities: What was measured, by name of the modality; absent ones are not listed.
        outcome: What the task predicts.
        hospital: Where the patient was treated, if the data tell.
        part: The part of the split the data prescribe; None lets the plan decide.
    """

    patient_id: str
    modalities: Mapping[str, Measurement]
    outcome: Outcome
    hospital: str | None = None
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """One modality of B patients, padded to the longest.

    Shapes:
        values      (B, T, F)  0 where nothing was measured
        measured    (B, T, F)  True where a value was measured
        present     (B, T)     True where a row is real, False where it is padding
        times_days  (B, T)     0 for layouts without time
        held        (B,)       True for patients who have this modality at all
    """

    values: Float[Tensor, "B T F"]
    measured: Bool[Tensor, "B T F"]
    present: Bool[Tensor, "B T"]
    times_days: Float[Tensor, "B T"]
    held: Bool[Tensor, "B"]

    def select(self, chosen: Tensor) -> "Inputs":
        """Keep the chosen patients (a mask or indices), in order."""
        return Inputs(*(getattr(self, name)[chosen] for name in self.__slots__))

    def to(self, device: torch.device) -> "Inputs":
        """Move every tensor to a device."""
        return Inputs(*(getattr(self, name).to(device) for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an encoder makes of one modality: T tokens of width C for each of B patients.

    Shapes:
        values   (B, T, C)
        present  (B, T)     True where a token is real; at least one per patient
    """

    values: Float[Tensor, "B T C"]
    present: Bool[Tensor, "B T"]


@dataclass(frozen=True, slots=True)
class Batch:
    """B patients with any subset of modalities each.

    Shapes:
        outcomes  (B, O)  rows of `Outcome.values`
    """

    inputs: Mapping[str, Inputs]
    outcomes: Float[Tensor, "B O"]

    def __len__(self) -> int:
        return len(self.outcomes)

    def only(self, modalities: Iterable[str]) -> "Batch":
        """Hide every modality but these: how a patient with fewer would look."""
        wanted = set(modalities)
        return replace(self, inputs={name: part for name, part in self.inputs.items() if name in wanted})

    def to(self, device: torch.device) -> "Batch":
        """Move every tensor to a device."""
        inputs = {name: part.to(device) for name, part in self.inputs.items()}
        return Batch(inputs, self.outcomes.to(device))


@dataclass(frozen=True)
class Cohort:
    """A set of patients, and what their modalities look like.

    Args:
        records: The patients, each once.
        schemas: Layout and features of every modality that may occur.

    Raises:
        DataError: If a patient occurs twice.
    """

    records: tuple[PatientRecord, ...]
    schemas: Mapping[str, ModalitySchema] = field(repr=False)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        doubled = {r.patient_id for r in self.records if r.patient_id in seen or seen.add(r.patient_id)}
        if doubled:
            raise DataError(
                f"{len(doubled)} of {len(self.records)} patients occur more than once in this cohort. "
                "Give every patient one row of outcomes, and one identifier.",
                local=f"first patients that occur twice: {sorted(doubled)[:5]}",
            )

    def __len__(self) -> int:
        return len(self.records)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(self.schemas)

    def keep(self, records: Iterable[PatientRecord]) -> "Cohort":
        """The same kind of cohort with these records only."""
        return replace(self, records=tuple(records))

    def part(self, part: Part) -> "Cohort":
        """The patients of one part of the split."""
        return self.keep(record for record in self.records if record.part == part)

    def marked(self, part: Part) -> "Cohort":
        """The same patients, all in this part of the split."""
        return self.keep(replace(record, part=part) for record in self.records)

    def holding(self, *modalities: str) -> "Cohort":
        """The patients who have every one of these modalities."""
        return self.keep(r for r in self.records if all(name in r.modalities for name in modalities))

    def with_several(self, modalities: Iterable[str]) -> "Cohort":
        """The paired patients: those who have more than one of these modalities."""
        wanted = set(modalities)
        return self.keep(r for r in self.records if len(wanted & r.modalities.keys()) > 1)

    def only(self, *modalities: str) -> "Cohort":
        """Patients who have any of these modalities, with the others taken away."""
        schemas = {name: schema for name, schema in self.schemas.items() if name in modalities}
        kept = tuple(
            replace(record, modalities={n: m for n, m in record.modalities.items() if n in schemas})
            for record in self.records
            if any(name in record.modalities for name in schemas)
        )
        return Cohort(kept, schemas)

    def with_features(self, modality: str, features: Sequence[str]) -> "Cohort":
        """The same patients with these features of a modality, in this order.

        Raises:
            DataError: If a feature is not there.
        """
        schema = self.schemas[modality]
        if schema.features == tuple(features):
            return self
        missing = [name for name in features if name not in schema.features]
        if missing:
            raise DataError(
                f"Modality '{modality}' has {schema.num_features} features here and the run expects "
                f"{len(features)}; {len(missing)} of them are missing, the first is '{missing[0]}'. Rebuild "
                f"the table with the run's features, or take '{modality}' out of site.toml."
            )
        columns = torch.tensor([schema.features.index(name) for name in features])
        chosen = schema.model_copy(update={"features": tuple(features)})
        records = (
            replace(record, modalities={**record.modalities, modality: _columns(record, modality, columns)})
            if modality in record.modalities
            else record
            for record in self.records
        )
        return Cohort(tuple(records), {**self.schemas, modality: chosen})

    def batch(self, indices: Sequence[int] | None = None) -> Batch:
        """Collate the patients at these indices, or all of them."""
        records = self.records if indices is None else [self.records[index] for index in indices]
        return collate(records, self.schemas)


def _columns(record: PatientRecord, modality: str, columns: Tensor) -> Measurement:
    measurement = record.modalities[modality]
    return replace(measurement, values=measurement.values[:, columns])


def collate(records: Sequence[PatientRecord], schemas: Mapping[str, ModalitySchema]) -> Batch:
    """Pad measurements to one length and remember, in masks, what is real.

    Raises:
        DataError: If there are no records.
    """
    if not records:
        raise DataError("There are no patients to make a batch of. Give at least one patient.")
    inputs = {name: _collate_modality(records, name, schema) for name, schema in schemas.items()}
    outcomes = torch.tensor([record.outcome.values for record in records], dtype=torch.float32)
    return Batch(inputs, outcomes)


def _collate_modality(records: Sequence[PatientRecord], name: str, schema: ModalitySchema) -> Inputs:
    measurements = [record.modalities.get(name) for record in records]
    fewest = prod(schema.grid or (1,))  # an image that nobody has is as large as any
    longest = max((len(m.values) for m in measurements if m is not None), default=fewest)
    shape = (len(records), longest)
    values = torch.full((*shape, schema.num_features), torch.nan)
    present = torch.zeros(shape, dtype=torch.bool)
    times_days = torch.zeros(shape)
    for row, measurement in enumerate(measurements):
        if measurement is None:
            continue
        length = len(measurement.values)
        values[row, :length] = measurement.values
        present[row, :length] = True
        if measurement.times_days is not None:
            times_days[row, :length] = measurement.times_days
    measured = ~torch.isnan(values)
    held = torch.tensor([measurement is not None for measurement in measurements])
    return Inputs(torch.nan_to_num(values, nan=0.0), measured, present, times_days, held)
