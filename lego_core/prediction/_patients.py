"""Patients of whom a prediction is asked: who they are, and what is known of each, read when needed."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import final

import torch

from lego_core.errors import DataError
from lego_core.records import Cohort, Measurement, ModalitySchema, Outcome, PatientRecord

MOST_VALUES = 2**25  # of one modality in a batch, padded: 128 MiB


@dataclass(frozen=True, slots=True)
class Problem:
    """What could not be read or predicted. For the site's own eyes: it names patients.

    Args:
        patient_id: Whose it is, if that is known.
        modality: Where it was measured, if it was.
        place: Where it stands: the file, and the row in it.
        problem: What is wrong.
    """

    patient_id: str
    modality: str
    place: str
    problem: str


@dataclass(frozen=True)
class Source:
    """One modality of all patients who have it, in the form that the models read.

    Args:
        schema: Its layout and features, as the run agreed on them.
        places: Where each patient's measurement stands, by identifier.
        read: Gives the measurement of one of them.
    """

    schema: ModalitySchema
    places: Mapping[str, str]
    read: Callable[[str], Measurement]


@final
@dataclass(frozen=True)
class SitePatients:
    """Who there is, and what was measured in them.

    Args:
        ids: One per patient, in order.
        sources: By modality; those that the models know.
        notices: What a reader must know about all patients: whole sentences.
        problems: What could not be read before any prediction was made.
    """

    ids: tuple[str, ...]
    sources: Mapping[str, Source]
    notices: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    schemas: Mapping[str, ModalitySchema] = field(init=False)

    def __post_init__(self) -> None:
        schemas = {name: source.schema for name, source in self.sources.items()}
        object.__setattr__(self, "schemas", schemas)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of_cohort(cls, cohort: Cohort, agreed: Mapping[str, ModalitySchema]) -> "SitePatients":
        """The patients of a cohort, with the features that the run agreed on.

        Raises:
            DataError: If a modality has another layout than in the run, or none of its features.
        """
        sources, notices = {}, []
        for name, wanted in agreed.items():
            if name not in cohort.schemas:
                continue
            own = cohort.schemas[name]
            notices += check_fits(own, wanted, modality=name)
            measured = {
                record.patient_id: as_agreed(record.modalities[name], own=own, agreed=wanted)
                for record in cohort.records
                if name in record.modalities
            }
            places = {patient: "" for patient, one in measured.items() if not one.values.isnan().all()}
            sources[name] = Source(wanted, places, measured.__getitem__)
        unknown = sorted(set(cohort.schemas) - set(agreed))
        if unknown:
            notices.append(
                f"Modalities {unknown} were not part of the run, whose modalities are {list(agreed)}. They "
                "are not read."
            )
        return cls(tuple(record.patient_id for record in cohort.records), sources, tuple(notices))

    def batches(self, size: int) -> Iterator[tuple[Cohort, tuple[Problem, ...]]]:
        """Read the patients, so many at a time and never more than memory allows.

        Yields:
            Patients with what could be read of them, and what could not.
        """
        records: list[PatientRecord] = []
        problems: list[Problem] = []
        for patient_id in self.ids:
            record, broken = self._read(patient_id)
            if records and (len(records) == size or self._is_too_large([*records, record])):
                yield Cohort(tuple(records), self.schemas), tuple(problems)
                records, problems = [], []
            records.append(record)
            problems += broken
        if records:
            yield Cohort(tuple(records), self.schemas), tuple(problems)

    def _read(self, patient_id: str) -> tuple[PatientRecord, list[Problem]]:
        held: dict[str, Measurement] = {}
        broken = []
        for name, source in self.sources.items():
            if patient_id not in source.places:
                continue
            try:
                held[name] = source.read(patient_id)
            except DataError as error:
                broken.append(Problem(patient_id, name, source.places[patient_id], error.public))
        return PatientRecord(patient_id, held, Outcome(())), broken

    def _is_too_large(self, records: list[PatientRecord]) -> bool:
        for name, schema in self.schemas.items():
            rows = [len(r.modalities[name].values) for r in records if name in r.modalities]
            if len(rows) * max(rows, default=0) * schema.num_features > MOST_VALUES:
                return True
        return False


def check_fits(own: ModalitySchema, agreed: ModalitySchema, *, modality: str) -> list[str]:
    """Make sure that a modality can be read as the run's, and say what lacks.

    Raises:
        DataError: If its layout or grid is another one, or if it has none of the run's features.
    """
    if (own.layout, own.grid) != (agreed.layout, agreed.grid):
        found, wanted = (f"{one.layout} {one.grid or ''}".strip() for one in (own, agreed))
        raise DataError(
            f"Modality '{modality}' is a {found} here, and a {wanted} in the run. Write it as in the run, or "
            "leave it out."
        )
    missing = [name for name in agreed.features if name not in own.features]
    return lacking(missing, own=own.features, agreed=agreed, modality=modality)


def lacking(
    missing: Collection[str], *, own: Collection[str], agreed: ModalitySchema, modality: str
) -> list[str]:
    """Say which features are missing, and what becomes of that; nothing if none is.

    Raises:
        DataError: If all of them are.
    """
    if len(missing) == agreed.num_features:
        raise DataError(
            f"Modality '{modality}' has none of the {agreed.num_features} features that the model reads; "
            f"the first are {list(agreed.features[:5])}. Name its columns as in the run, or leave it out.",
            local=f"columns here: {list(own)[:20]}",
        )
    if not missing:
        return []
    listed = ", ".join(f"'{name}'" for name in list(missing)[:10]) + (
        " and more" if len(missing) > 10 else ""
    )
    return [
        f"Modality '{modality}' lacks {len(missing)} of the {agreed.num_features} features that the model "
        f"reads: {listed}. They count as not measured in every patient, as an empty cell did in training. "
        "If they were measured, add the columns, named as in the run."
    ]


def as_agreed(measurement: Measurement, *, own: ModalitySchema, agreed: ModalitySchema) -> Measurement:
    """The same measurement with the run's features, in the run's order; NaN where one is missing."""
    if own.features == agreed.features:
        return measurement
    place = {name: index for index, name in enumerate(own.features)}
    with_nothing = torch.nn.functional.pad(measurement.values, (0, 1), value=torch.nan)
    columns = torch.tensor([place.get(name, own.num_features) for name in agreed.features])
    return replace(measurement, values=with_nothing[:, columns])
