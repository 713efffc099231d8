"""The plan of a described dataset: what its encoders are to learn from decides what they drop."""

import pytest
import torch

from lego_core.datasets import Synthetic
from lego_core.encoders import Patches, Tabular, TimeSeries
from lego_core.plan import Fuse
from lego_core.records import Cohort, Layout, Measurement, ModalitySchema, Outcome, PatientRecord
from simulations.benchmarks.default_plan import default_plan


def cohort_of(
    features: dict[str, int], *, patients: int, layout: Layout = "table", holders: int = 0
) -> Cohort:
    """Patients of whom the first `holders` (all if 0) hold every modality, each of so many features."""
    schemas = {
        name: ModalitySchema(layout=layout, features=tuple(f"{index}" for index in range(count)))
        for name, count in features.items()
    }
    times = torch.zeros(1) if layout == "series" else None
    held = {name: Measurement(torch.ones(1, count), times) for name, count in features.items()}
    return Cohort(
        tuple(
            PatientRecord(f"{index}", held if index < (holders or patients) else {}, Outcome((1.0, 1.0)))
            for index in range(patients)
        ),
        schemas,
    )


@pytest.mark.parametrize(
    ("features", "encoder"),
    [
        (1, Tabular(dropout=0.0, squares=True)),
        (10, Tabular(dropout=0.0, squares=True)),
        (11, Tabular(dropout=0.3, squares=False)),
        (2900, Tabular(dropout=0.3, squares=False)),
    ],
)
def test_a_table_is_learned_whole_if_it_has_ten_patients_to_every_feature(
    features: int, encoder: Tabular
) -> None:
    plan = default_plan("own", Synthetic(), cohort_of({"one": features}, patients=100))

    assert plan.modalities["one"].encoder == encoder


def test_patients_without_the_modality_do_not_count() -> None:
    plan = default_plan("own", Synthetic(), cohort_of({"one": 10}, patients=100, holders=99))

    assert plan.modalities["one"].encoder == Tabular(dropout=0.3, squares=False)


@pytest.mark.parametrize(
    ("features", "dropout"),
    [({"one": 5}, False), ({"one": 40}, False), ({"one": 41}, True), ({"one": 5, "genes": 2900}, True)],
)
def test_fuse_drops_out_where_a_table_has_more_features_than_patients(
    features: dict[str, int], dropout: bool
) -> None:
    plan = default_plan("own", Synthetic(), cohort_of(features, patients=40))

    assert plan.fuse == Fuse(dropout=dropout)


@pytest.mark.parametrize(("layout", "encoder"), [("series", TimeSeries()), ("bag", Patches())])
def test_what_is_no_table_has_its_encoder_whatever_its_features(
    layout: Layout, encoder: TimeSeries | Patches
) -> None:
    plan = default_plan("own", Synthetic(), cohort_of({"one": 50}, patients=40, layout=layout))

    assert plan.modalities["one"].encoder == encoder
    assert plan.fuse == Fuse(dropout=False)
