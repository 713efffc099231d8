"""Every dataset keeps the promises of `AbstractDataset`. Published data that are absent are skipped."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from lego_core.component import Component
from lego_core.datasets import (
    Bags,
    Breast,
    ClassOutcome,
    Dataset,
    Icu2012,
    Images,
    Pbc,
    SurvivalOutcome,
    Synthetic,
    Tcga,
    write_tables,
)
from lego_core.records import Cohort

REPOSITORY = Path(__file__).parents[2]
PUBLISHED = Path(os.environ.get("LEGO_DATA", REPOSITORY.parent / "shared" / "data"))


@dataclass(frozen=True)
class Example:
    """A dataset, and the folder that holds its files."""

    dataset: Component
    folder: Path


def make_tables(folder: Path) -> Example:
    cohort = Synthetic(patients=12, modalities=all_layouts()).load()
    return Example(write_tables(cohort, folder / "tables", outcome=SurvivalOutcome()), folder / "tables")


def make_bags(folder: Path) -> Example:
    rng = np.random.default_rng(0)
    (folder / "bags").mkdir()
    for patient in ("a", "b", "c"):
        np.savez(folder / "bags" / f"{patient}.npz", features=rng.normal(size=(5, 4)))
    (folder / "patients.csv").write_text("patient_id,class\na,ill\nb,well\nc,ill\n")
    return Example(Bags(outcome=ClassOutcome(classes=("well", "ill"))), folder)


def make_images(folder: Path) -> Example:
    for name, brightness in (("well/a", 10), ("well/b", 20), ("ill/c", 200)):
        path = folder / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (5, 4), brightness).save(path)
    return Example(Images(folder=Path("pictures"), size=(4, 5)), folder)


def all_layouts() -> dict[str, dict[str, object]]:
    return {
        "clinical": {"layout": "table", "missing": 0.2, "absent": 0.3},
        "laboratory": {"layout": "series", "missing": 0.2, "absent": 0.3},
        "patches": {"layout": "bag", "largest": 4, "absent": 0.3},
        "scan": {"layout": "image", "size": (4, 6), "absent": 0.3},
    }


EXAMPLES: dict[str, Callable[[Path], Example]] = {
    "bags": make_bags,
    "breast": lambda _: Example(Breast(), Path()),
    "icu2012": lambda _: Example(Icu2012(), PUBLISHED),
    "images": make_images,
    "pbc": lambda _: Example(Pbc(), Path()),
    "synthetic": lambda _: Example(Synthetic(patients=20, modalities=all_layouts()), Path()),
    "tables": make_tables,
    "tcga": lambda _: Example(Tcga(cohort="kirp"), PUBLISHED),
}


@pytest.fixture(scope="module", params=sorted(EXAMPLES))
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    made = EXAMPLES[request.param](tmp_path_factory.mktemp(request.param))
    if made.folder == PUBLISHED and not (PUBLISHED / request.param).is_dir():
        pytest.skip(f"the published data of '{request.param}' are not in {PUBLISHED}; set LEGO_DATA")
    return made


@pytest.fixture(scope="module")
def cohort(example: Example) -> Cohort:
    return example.dataset.load(example.folder)


def test_every_member_of_the_union_has_an_example() -> None:
    kinds = {member.model_fields["kind"].default for member in get_args(get_args(Dataset)[0])}

    assert kinds == set(EXAMPLES)


def test_every_dataset_is_a_union_member_with_a_source(example: Example) -> None:
    assert "Source:" in (type(example.dataset).__doc__ or "")


def test_every_dataset_survives_toml_and_back(example: Example) -> None:
    plain = example.dataset.to_plain()

    assert TypeAdapter(Dataset).validate_python(plain) == example.dataset


def test_every_patient_is_one_record(cohort: Cohort) -> None:
    ids = [record.patient_id for record in cohort.records]

    assert len(set(ids)) == len(ids) >= 2
    assert all(ids)


def test_every_measurement_fits_its_schema(cohort: Cohort) -> None:
    for record in cohort.records:
        for name, measurement in record.modalities.items():
            schema = cohort.schemas[name]
            rows, features = measurement.values.shape
            assert features == schema.num_features == len(set(schema.features))
            assert rows >= 1
            assert schema.layout != "table" or rows == 1
            assert (schema.grid is not None) == (schema.layout == "image")
            assert schema.grid is None or rows == schema.grid[0] * schema.grid[1]


def test_every_value_is_float32_and_finite_or_missing(cohort: Cohort) -> None:
    for record in cohort.records:
        for measurement in record.modalities.values():
            assert measurement.values.dtype == torch.float32
            assert not measurement.values.isinf().any()


def test_every_modality_a_patient_holds_has_a_value(cohort: Cohort) -> None:
    for record in cohort.records:
        for measurement in record.modalities.values():
            assert not measurement.values.isnan().all()


def test_every_series_and_nothing_else_has_times_in_order(cohort: Cohort) -> None:
    for record in cohort.records:
        for name, measurement in record.modalities.items():
            times = measurement.times_days
            assert (times is not None) == (cohort.schemas[name].layout == "series")
            assert times is None or (
                times.dtype == torch.float32 and times.shape == measurement.values.shape[:1]
            )
            assert times is None or (times.diff() >= 0).all()


def test_every_modality_is_held_by_somebody(cohort: Cohort) -> None:
    held = {name for record in cohort.records for name in record.modalities}

    assert held == set(cohort.modalities)


def test_every_outcome_has_the_same_finite_length(cohort: Cohort) -> None:
    outcomes = np.array([record.outcome.values for record in cohort.records])

    assert outcomes.ndim == 2
    assert np.isfinite(outcomes).all()


def test_loading_twice_gives_equal_cohorts(example: Example, cohort: Cohort) -> None:
    again = example.dataset.load(example.folder)

    assert again.schemas == cohort.schemas
    for one, other in zip(cohort.records, again.records, strict=True):
        assert (one.patient_id, one.outcome, one.hospital, one.part) == (
            other.patient_id,
            other.outcome,
            other.hospital,
            other.part,
        )
        assert list(one.modalities) == list(other.modalities)
        for name, measurement in one.modalities.items():
            torch.testing.assert_close(
                measurement.values, other.modalities[name].values, rtol=0, atol=0, equal_nan=True
            )


def test_every_cohort_becomes_a_batch(cohort: Cohort) -> None:
    batch = cohort.batch([0, 1])

    assert set(batch.inputs) == set(cohort.modalities)
