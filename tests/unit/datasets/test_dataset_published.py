"""Published data: golden counts, and what is read from them. TCGA and ICU data are skipped where absent."""

import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lego_core.datasets import Breast, Icu2012, Pbc, Tcga
from lego_core.errors import DataError
from lego_core.records import Cohort

PUBLISHED = Path(os.environ.get("LEGO_DATA", Path(__file__).parents[4] / "shared" / "data"))
needs_tcga = pytest.mark.skipif(not (PUBLISHED / "tcga").is_dir(), reason="no TCGA tables; set LEGO_DATA")
needs_icu = pytest.mark.skipif(not (PUBLISHED / "icu2012").is_dir(), reason="no ICU tables; set LEGO_DATA")


def outcomes(cohort: Cohort) -> np.ndarray:
    return np.array([record.outcome.values for record in cohort.records])


def column(cohort: Cohort, modality: str, feature: str) -> np.ndarray:
    index = cohort.schemas[modality].features.index(feature)
    return np.array(
        [r.modalities[modality].values[0, index].item() for r in cohort.records if modality in r.modalities]
    )


@needs_tcga
@pytest.mark.parametrize(
    ("cohort", "patients", "deaths", "features"),
    [
        ("blca", 373, 169, {"rna": 1554, "cnv": 256, "mutation": 371, "clinical": 2}),
        ("brca", 956, 130, {"rna": 1558, "cnv": 1333, "mutation": 21, "clinical": 2}),
        ("kirp", 260, 40, {"rna": 1557, "mutation": 20, "clinical": 2}),
        ("ucec", 480, 75, {"cnv": 5, "mutation": 1406, "clinical": 1}),
    ],
)
def test_tcga_has_one_record_per_patient(
    cohort: str, patients: int, deaths: int, features: dict[str, int]
) -> None:
    read = Tcga.model_validate({"cohort": cohort}).load(PUBLISHED)

    assert len(read) == patients
    assert outcomes(read)[:, 1].sum() == deaths
    assert {name: schema.num_features for name, schema in read.schemas.items()} == features
    assert all(record.hospital for record in read.records)


@needs_tcga
def test_tcga_counts_days_and_events_as_we_do() -> None:
    path = PUBLISHED / "tcga" / "tcga_blca_all_clean.csv.zip"
    slide = pd.read_csv(path, low_memory=False).iloc[0]
    record = Tcga(cohort="blca").load(PUBLISHED / "tcga").records[0]

    assert record.patient_id == slide["case_id"]
    assert record.outcome.values == (slide["survival_months"] * 30.4375, 1.0 - slide["censorship"])
    assert record.modalities["rna"].values[0, 0].item() == pytest.approx(slide["AAK1_rnaseq"])


@needs_tcga
def test_tcga_ages_that_are_not_known_are_missing() -> None:
    cohort = Tcga(cohort="kirp").load(PUBLISHED)

    assert np.isnan(column(cohort, "clinical", "age")).sum() in (1, 2)
    assert not np.isnan(column(cohort, "clinical", "is_female")).any()


@needs_icu
def test_icu_has_4000_stays_and_554_deaths() -> None:
    cohort = Icu2012().load(PUBLISHED)

    assert len(cohort) == 4000
    assert outcomes(cohort).mean() == 0.1385
    assert {name: schema.num_features for name, schema in cohort.schemas.items()} == {
        "vitals": 58,
        "laboratory": 47,
        "demographics": 7,
    }


@needs_icu
def test_icu_keeps_scores_and_what_came_later_out_of_the_inputs() -> None:
    schemas = Icu2012().load(PUBLISHED).schemas.values()
    features = {feature for schema in schemas for feature in schema.features}

    known_later = {"recordid", "SAPS-I", "SOFA", "Length_of_stay", "Survival", "In-hospital_death"}
    assert not features & known_later


@needs_icu
def test_icu_heights_that_cannot_be_are_missing() -> None:
    heights = column(Icu2012().load(PUBLISHED), "demographics", "Height")

    assert np.nanmax(heights) == pytest.approx(205.7)
    assert np.isfinite(heights).sum() == 2106 - 9


@needs_icu
def test_icu_units_stand_for_hospitals() -> None:
    units = [record.hospital for record in Icu2012().load(PUBLISHED).records]

    assert {unit: units.count(unit) for unit in set(units)} == {
        "CCU": 577,
        "CSRU": 874,
        "SICU": 1068,
        "MICU": 1481,
    }


def test_pbc_starts_a_year_after_the_first_visit() -> None:
    cohort = Pbc().load()

    assert len(cohort) == 290
    assert outcomes(cohort)[:, 1].sum() == 118
    assert outcomes(cohort)[:, 0].min() > 0
    times = [record.modalities["laboratory"].times_days for record in cohort.records]
    assert max(t.max().item() for t in times if t is not None) == 365


def test_pbc_first_patient_is_the_one_in_the_book() -> None:
    record = Pbc(log_laboratory=False).load().records[0]

    # pbcseq, patient 1: died on day 400; visits on days 0 and 192; bilirubin 14.5 and 21.3.
    assert record.outcome.values == (35.0, 1.0)
    assert record.modalities["laboratory"].values[:, 0].tolist() == pytest.approx([14.5, 21.3])
    assert record.modalities["clinical"].values[0].tolist() == pytest.approx(
        [58.765, 1, 1, 1, 1, 1, 1, 4, 156, 172], abs=1e-3
    )


def test_pbc_takes_logarithms_and_says_so() -> None:
    logged, raw = Pbc().load(), Pbc(log_laboratory=False).load()

    assert logged.schemas["laboratory"].features[0] == "log bili"
    assert raw.schemas["laboratory"].features[0] == "bili"
    one, other = (c.records[5].modalities["laboratory"].values for c in (logged, raw))
    torch.testing.assert_close(one, other.log(), equal_nan=True)


def test_pbc_landmark_after_everybody_has_left_is_refused() -> None:
    with pytest.raises(DataError, match="No patient of PBC is still at risk 9000 days after the first visit"):
        Pbc(landmark_days=9000).load()


def test_breast_has_198_patients_and_51_relapses() -> None:
    cohort = Breast().load()

    assert len(cohort) == 198
    assert outcomes(cohort)[:, 1].sum() == 51
    assert {name: schema.num_features for name, schema in cohort.schemas.items()} == {
        "expression": 76,
        "clinical": 4,
    }


def test_breast_categories_become_ordered_numbers() -> None:
    cohort = Breast().load()

    grades = column(cohort, "clinical", "grade")
    assert [int((grades == grade).sum()) for grade in (1, 2, 3)] == [30, 83, 83]
    assert np.isnan(grades).sum() == 2
    assert column(cohort, "clinical", "er").sum() == 134


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (
            Tcga(cohort="blca"),
            r"The data folder holds no 'tcga/tcga_blca_all_clean\.csv\.zip'\. Get it from github\.com",
        ),
        (Icu2012(), r"The data folder holds no 'icu2012/set-a\.csv\.gz'\. Get it from physionet\.org"),
    ],
)
def test_published_data_that_are_absent_name_their_origin(
    tmp_path: Path, dataset: Tcga | Icu2012, sentence: str
) -> None:
    with pytest.raises(DataError, match=f"{sentence}.*--data DIR") as caught:
        dataset.load(tmp_path)

    assert str(tmp_path) not in caught.value.public
    assert str(tmp_path) in caught.value.local


def test_a_damaged_tcga_table_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tcga_ucec_all_clean.csv.zip", "w") as archive:
        archive.writestr("a.csv", "case_id,site,survival_months,age,is_female\na,b,1,2,3\n")

    with pytest.raises(DataError, match=r"The TCGA table lacks 1 columns .* \['censorship'\]"):
        Tcga(cohort="ucec").load(tmp_path)


@pytest.mark.slow
@needs_tcga
@needs_icu
def test_published_data_load_in_seconds() -> None:
    start = time.perf_counter()
    Tcga(cohort="brca").load(PUBLISHED)
    Icu2012().load(PUBLISHED)

    assert time.perf_counter() - start < 4
