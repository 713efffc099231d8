"""Made-up patients follow the story that `Synthetic` tells."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sksurv.metrics import concordance_index_censored

from lego_core.datasets import Synthetic
from lego_core.records import Cohort

LAYOUTS = {
    "table": {"layout": "table", "noise": 0.0},
    "series": {"layout": "series", "noise": 0.0},
    "bag": {"layout": "bag", "noise": 0.0, "telling": 1.0},
    "image": {"layout": "image", "noise": 0.0},
}


def synthetic(**settings: object) -> Cohort:
    return Synthetic.model_validate(settings).load()


def outcomes(cohort: Cohort) -> np.ndarray:
    return np.array([record.outcome.values for record in cohort.records])


def means(cohort: Cohort, name: str) -> np.ndarray:
    """One row per patient: the pixels of an image, and elsewhere the mean of the rows."""
    values = [record.modalities[name].values for record in cohort.records]
    return np.array([(v.flatten() if cohort.schemas[name].grid else v.mean(dim=0)).tolist() for v in values])


def test_another_seed_gives_other_patients() -> None:
    one, other = synthetic(patients=5, seed=1), synthetic(patients=5, seed=2)

    assert not np.array_equal(outcomes(one), outcomes(other))


@pytest.mark.parametrize("layout", ["table", "bag", "image"])
def test_without_noise_every_layout_shows_one_factor_and_nothing_else(layout: str) -> None:
    shown = means(synthetic(patients=50, modalities={"m": LAYOUTS[layout]}), "m")

    singular_values = np.linalg.svd(shown - shown.mean(axis=0), compute_uv=False)

    assert singular_values[1] < 1e-5 * singular_values[0]


def test_a_series_shows_the_factor_as_a_trend() -> None:
    cohort = synthetic(patients=50, modalities={"m": LAYOUTS["series"]})

    for record in cohort.records:
        measurement = record.modalities["m"]
        assert measurement.times_days is not None
        slopes = measurement.values / measurement.times_days.clamp(min=1)[:, None]
        started = measurement.times_days > 0
        torch.testing.assert_close(slopes[started], slopes[started][:1].expand_as(slopes[started]))


@pytest.mark.parametrize(("censored", "low", "high"), [(0.0, 0.0, 0.0), (0.3, 0.28, 0.32), (0.8, 0.78, 0.82)])
def test_the_wanted_share_is_censored(censored: float, low: float, high: float) -> None:
    events = outcomes(synthetic(patients=200, outcome={"kind": "survival", "censored": censored}))[:, 1]

    assert low <= 1 - events.mean() <= high


@pytest.mark.parametrize(("strength", "low", "high"), [(0.0, 0.45, 0.55), (1.0, 0.68, 0.8), (4.0, 0.86, 1.0)])
def test_strength_decides_how_well_a_modality_can_predict(strength: float, low: float, high: float) -> None:
    settings = {"m": {**LAYOUTS["table"], "strength": strength, "features": 1}}
    cohort = synthetic(patients=600, modalities=settings)

    times, events = outcomes(cohort).T
    index = concordance_index_censored(events.astype(bool), times, means(cohort, "m")[:, 0])[0]

    assert low <= max(index, 1 - index) <= high


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_shared_is_the_correlation_of_factors(shared: float) -> None:
    tables = {name: {**LAYOUTS["table"], "features": 1} for name in ("a", "b")}
    cohort = synthetic(patients=4000, shared=shared, modalities=tables)

    correlation = np.corrcoef(means(cohort, "a")[:, 0], means(cohort, "b")[:, 0])[0, 1]

    assert abs(correlation) == pytest.approx(shared, abs=0.05)


@pytest.mark.parametrize(
    ("outcome", "columns", "values"),
    [
        ({"kind": "class"}, 1, {0.0, 1.0}),
        ({"kind": "class", "classes": 4}, 1, {0.0, 1.0, 2.0, 3.0}),
        ({"kind": "labels", "labels": 5}, 5, {0.0, 1.0}),
    ],
)
def test_every_class_and_label_occurs(outcome: dict[str, object], columns: int, values: set[float]) -> None:
    drawn = outcomes(synthetic(patients=200, outcome=outcome))

    assert drawn.shape == (200, columns)
    assert set(drawn.flatten()) == values


def test_values_and_modalities_get_lost_in_the_wanted_share() -> None:
    settings = {name: {"layout": "table", "missing": 0.25, "absent": 0.5} for name in ("a", "b")}
    cohort = synthetic(patients=1000, modalities=settings)

    held = [record.modalities["a"].values for record in cohort.records if "a" in record.modalities]

    assert len(held) == pytest.approx(1000 * (0.5 + 0.25 / 2), abs=60)
    assert torch.cat(held).isnan().float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert all(record.modalities for record in cohort.records)


def test_hospitals_measure_differently_where_the_settings_say_so() -> None:
    cohort = synthetic(patients=400, hospitals=4, hospital_shift=5.0, modalities={"m": {"layout": "table"}})
    shown = means(cohort, "m").mean(axis=1)

    hospitals = np.array([record.hospital for record in cohort.records])
    centres = [shown[hospitals == name].mean() for name in np.unique(hospitals)]

    assert len(centres) == 4
    assert np.std(centres) > 3 * shown[hospitals == "hospital-1"].std()


def test_a_kind_of_layout_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValidationError, match="'table', 'series', 'bag', 'image'"):
        synthetic(modalities={"m": {"layout": "graph"}})
