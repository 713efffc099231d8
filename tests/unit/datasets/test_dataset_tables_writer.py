"""What `write_tables` writes, `Tables` reads back, bit for bit."""

import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from torch import Tensor

from lego_core.datasets import (
    ClassOutcome,
    LabelsOutcome,
    OutcomeColumns,
    SurvivalOutcome,
    Synthetic,
    write_tables,
)
from lego_core.datasets.tables_writer import FileFormat
from lego_core.errors import DataError
from lego_core.records import Cohort, Layout, Measurement, ModalitySchema, Outcome, PatientRecord

NAMES = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=8)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and torch.equal(one.isnan(), other.isnan())
        and bool((one.nan_to_num() == other.nan_to_num()).all())
    )


def assert_same(one: Cohort, other: Cohort) -> None:
    assert other.schemas == one.schemas
    for before, after in zip(one.records, other.records, strict=True):
        assert after.patient_id == before.patient_id
        assert (after.outcome, after.hospital, after.part) == (before.outcome, before.hospital, before.part)
        assert list(after.modalities) == list(before.modalities)
        for name, measurement in before.modalities.items():
            assert same(after.modalities[name].values, measurement.values)
            assert same(after.modalities[name].times_days, measurement.times_days)


LAYOUTS: dict[str, Layout] = {"clinical": "table", "a/b: labs": "series", "patches": "bag", "scan": "image"}


@dataclass(frozen=True)
class Drawn:
    """A cohort as plain numbers: strategies may not call our code, whose type checks draw random items."""

    features: dict[str, tuple[str, ...]]
    patients: list[
        tuple[str, dict[str, tuple[list[list[float]], list[float]]], tuple[float, float], str | None, Any]
    ]

    def cohort(self) -> Cohort:
        schemas = {
            name: ModalitySchema(
                layout=LAYOUTS[name], features=features, grid=(2, 3) if name == "scan" else None
            )
            for name, features in self.features.items()
        }
        records = [
            PatientRecord(
                patient_id, {n: self._measurement(n, *rows) for n, rows in held.items()}, Outcome(row), *rest
            )
            for patient_id, held, row, *rest in self.patients
        ]
        return Cohort(tuple(records), schemas)

    def _measurement(self, name: str, values: list[list[float]], times: list[float]) -> Measurement:
        return Measurement(torch.tensor(values), torch.tensor(times) if LAYOUTS[name] == "series" else None)


@st.composite
def measured(draw: DrawFn, name: str, num_features: int) -> tuple[list[list[float]], list[float]]:
    rows = {"clinical": 1, "scan": 6}.get(name) or draw(st.integers(1, 3))
    row = st.lists(FLOATS | st.just(math.nan), min_size=num_features, max_size=num_features)
    values = draw(st.lists(row, min_size=rows, max_size=rows))
    values[0][0] = draw(FLOATS)
    return values, sorted(draw(st.lists(FLOATS, min_size=rows, max_size=rows)))


@st.composite
def drawn(draw: DrawFn) -> Drawn:
    taken = {"patient_id", "hospital", "part", "time_days", "event"}
    names = NAMES.filter(lambda name: name not in taken and not name.startswith("Unnamed: "))
    features = {name: tuple(draw(st.lists(names, min_size=1, max_size=4, unique=True))) for name in LAYOUTS}
    ids = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    times = st.floats(min_value=0, max_value=1e6, allow_nan=False)
    patients = [
        (
            patient_id,
            {n: draw(measured(n, len(f))) for n, f in features.items() if number == 0 or draw(st.booleans())},
            (draw(times), float(draw(st.booleans()))),
            draw(st.none() | NAMES),
            draw(st.sampled_from([None, "train", "validation", "test"])),
        )
        for number, patient_id in enumerate(ids)
    ]
    return Drawn(features, patients)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plain=drawn())
def test_a_written_cohort_reads_back_bit_for_bit(plain: Drawn, file_format: FileFormat) -> None:
    cohort = plain.cohort()
    with TemporaryDirectory() as folder:
        tables = write_tables(cohort, Path(folder), outcome=SurvivalOutcome(), file_format=file_format)

        assert_same(cohort, tables.load(Path(folder)))


@pytest.mark.parametrize("value", [7.038531e-26, 1e-45, 3.4028234e38, 0.1, 16777217.0, 1 / 3])
def test_float32_values_that_are_hard_to_round_survive_csv(tmp_path: Path, value: float) -> None:
    cohort = tiny_cohort(values=[[value, -value]])

    read = write_tables(cohort, tmp_path, outcome=SurvivalOutcome()).load(tmp_path)

    assert_same(cohort, read)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ({"kind": "class", "classes": 3}, ClassOutcome(classes=("NA", "1.0", "ill"))),
        ({"kind": "labels", "labels": 2}, LabelsOutcome(columns=("effusion", "oedema"))),
    ],
)
def test_every_kind_of_outcome_reads_back(
    tmp_path: Path, kind: dict[str, object], outcome: OutcomeColumns
) -> None:
    cohort = Synthetic.model_validate({"patients": 20, "outcome": kind}).load()

    assert_same(cohort, write_tables(cohort, tmp_path, outcome=outcome).load(tmp_path))


def test_patients_without_a_modality_have_no_row_and_no_file(tmp_path: Path) -> None:
    schema = {
        "lab": ModalitySchema(layout="table", features=("x",)),
        "bags": ModalitySchema(layout="bag", features=("feature-0",)),
    }
    held = {name: Measurement(torch.ones(1, 1)) for name in schema}
    records = (PatientRecord("p1", held, Outcome((1.0, 1.0))), PatientRecord("p2", {}, Outcome((2.0, 0.0))))

    tables = write_tables(Cohort(records, schema), tmp_path, outcome=SurvivalOutcome())

    assert (tmp_path / "lab.csv").read_text() == "patient_id,x\np1,1\n"
    assert [path.name for path in (tmp_path / "bags").iterdir()] == ["p1.npz"]
    assert [list(record.modalities) for record in tables.load(tmp_path).records] == [["lab", "bags"], []]


def test_modalities_that_nobody_holds_are_left_out(tmp_path: Path) -> None:
    cohort = tiny_cohort()
    wider = Cohort(cohort.records, {**cohort.schemas, "scan": ModalitySchema(layout="bag", features=("a",))})

    assert list(write_tables(wider, tmp_path, outcome=SurvivalOutcome()).modalities) == ["lab"]


def test_a_folder_with_files_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").touch()

    with pytest.raises(DataError, match=r"The folder to write to is not empty\. Name a new folder\."):
        write_tables(tiny_cohort(), tmp_path, outcome=SurvivalOutcome())


def test_a_cohort_without_modalities_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No patient of this cohort holds any modality"):
        write_tables(tiny_cohort().only(), tmp_path / "new", outcome=SurvivalOutcome())


@pytest.mark.parametrize(
    "features", [("event", "b"), ("a", "a"), ("Unnamed: 0", "b"), ("", "b"), ("patient_id", "b")]
)
def test_features_that_cannot_be_columns_are_refused(tmp_path: Path, features: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="1 features of modality 'lab' cannot be columns of a table"):
        write_tables(tiny_cohort(features=features), tmp_path, outcome=SurvivalOutcome())


def test_a_modality_called_patients_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="A modality is called 'patients', as the table of patients is"):
        write_tables(tiny_cohort(name="patients"), tmp_path, outcome=SurvivalOutcome())


def tiny_cohort(
    *, name: str = "lab", features: tuple[str, ...] = ("a", "b"), values: list[list[float]] | None = None
) -> Cohort:
    measurement = Measurement(torch.tensor(values or [[1.0, 2.0]]))
    records = tuple(PatientRecord(f"p{n}", {name: measurement}, Outcome((1.0, 1.0))) for n in range(2))
    return Cohort(records, {name: ModalitySchema(layout="table", features=features)})
