"""What a site may give: a described folder, a bare one, one table, a wide one; and what is wrong in them."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tomli_w
from prediction.serving import bundle_of, made_up, write_site

from lego_core import Cohort, ModalitySchema
from lego_core.datasets import LabelsOutcome, SurvivalOutcome, Tables
from lego_core.errors import DataError
from lego_core.prediction import (
    Problem,
    SitePatients,
    UnitWatch,
    choose_model,
    open_patients,
    predict,
    predict_in_batches,
)

COHORT = made_up(patients=24)
BUNDLE = bundle_of(COHORT)
AGREED = BUNDLE.agreement.schemas


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_site(COHORT, tmp_path_factory.mktemp("site") / "here")


@pytest.fixture
def site(written: Path, tmp_path: Path) -> Path:
    """A site's folder to change."""
    return Path(shutil.copytree(written, tmp_path / "here"))


def table_of(patients: SitePatients, *, problems: list[Problem] | None = None) -> pd.DataFrame:
    parts = list(predict_in_batches(BUNDLE, patients, choose_model(BUNDLE), batch_size=7))
    (problems if problems is not None else []).extend(
        one for one in (*patients.problems, *(one for part in parts for one in part.problems))
    )
    return pd.concat([part.table for part in parts]).set_index("patient_id")


def expected(cohort: Cohort = COHORT) -> pd.DataFrame:
    return predict(BUNDLE, cohort).set_index("patient_id")


def assert_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(found.sort_index(), wanted.sort_index(), atol=1e-5, rtol=1e-4)


def change(site: Path, table: str, column: str, row: int, value: object) -> str:
    """Change a cell; give the patient's identifier."""
    frame = pd.read_csv(site / table, dtype=str)
    frame.loc[row, column] = value
    frame.to_csv(site / table, index=False)
    return str(frame.loc[row, "patient_id"])


# ---- what can be given ---------------------------------------------------------------------------


def test_a_described_folder_gives_what_the_cohort_gives(site):
    assert_same(table_of(open_patients(site, AGREED)), expected())


def test_a_folder_without_description_is_read_by_the_names_in_it(site):
    (site / "site.toml").unlink()

    assert_same(table_of(open_patients(site, AGREED)), expected())


def test_outcomes_are_not_needed(site):
    (site / "patients.csv").unlink()
    held = COHORT.keep(r for r in COHORT.records if r.modalities)

    assert_same(table_of(open_patients(site, AGREED)), expected(held))


def test_patients_with_nothing_are_listed_and_not_predicted(site):
    with (site / "patients.csv").open("a") as file:
        file.write("newcomer,1,0\n")

    row = table_of(open_patients(site, AGREED)).loc["newcomer"]

    assert row["status"] == "not predicted: no known modality"
    assert row["modalities"] == ""
    assert np.isnan(row["risk"])


@pytest.mark.parametrize("name", ["clinical", "visits"])
def test_one_table_is_one_modality(site, name):
    found = table_of(open_patients(site / f"{name}.csv", AGREED, modality=name))

    assert_same(found, expected(COHORT.only(name)))


def test_a_table_with_times_is_a_series_of_itself(site):
    assert_same(table_of(open_patients(site / "visits.csv", AGREED)), expected(COHORT.only("visits")))


def test_one_modality_of_a_folder_may_be_read_alone(site):
    found = table_of(open_patients(site, AGREED, modality="slide"))

    predicted = found[found["status"] == "predicted"]
    assert_same(predicted, expected(COHORT.only("slide")))


def test_a_file_of_one_patients_bag(site):
    path = sorted((site / "slide").glob("*.npz"))[0]

    found = table_of(open_patients(path, AGREED, modality="slide"))

    assert_same(found, expected(COHORT.only("slide")).loc[[path.stem]])


def test_a_wide_table_has_the_columns_of_several_modalities(tmp_path):
    agreed = {
        "a": ModalitySchema(layout="table", features=("age", "sex=f", "sex=m")),
        "b": ModalitySchema(layout="table", features=("age", "bili")),
    }
    frame = pd.DataFrame(
        {
            "patient_id": ["007", "08"],
            "age": [1.0, 2.0],
            "a.age": [5.0, None],
            "a.sex": ["f", ""],
            "bili": [3, 4],
        }
    )
    frame.to_csv(tmp_path / "wide.csv", index=False)

    [(cohort, problems)] = open_patients(tmp_path / "wide.csv", agreed).batches(9)

    assert problems == ()
    assert [r.patient_id for r in cohort.records] == ["007", "08"]
    assert cohort.records[0].modalities["a"].values.tolist() == [[5.0, 1.0, 0.0]]
    assert cohort.records[0].modalities["b"].values.tolist() == [[1.0, 3.0]]
    assert list(cohort.records[1].modalities) == ["b"]


def test_a_folder_in_parquet(site):
    for name in ("clinical", "visits"):
        pd.read_csv(site / f"{name}.csv", dtype={"patient_id": str}).to_parquet(site / f"{name}.parquet")
        (site / f"{name}.csv").unlink()
    (site / "site.toml").unlink()

    assert_same(table_of(open_patients(site, AGREED)), expected())


def test_text_becomes_the_categories_of_the_run(tmp_path):
    agreed = {"a": ModalitySchema(layout="table", features=("age", "sex=f", "sex=m"))}
    (tmp_path / "a.csv").write_text("patient_id,sex,age\np1,f,3\np2,NA,4\np3,x,5\n")

    patients = open_patients(tmp_path, agreed)
    [(cohort, _)] = patients.batches(9)

    values = {r.patient_id: r.modalities["a"].values.tolist() for r in cohort.records if r.modalities}
    assert values["p1"] == [[3.0, 1.0, 0.0]]
    assert np.isnan(values["p2"][0][1:]).all()
    [problem] = patients.problems
    assert (problem.patient_id, problem.modality, problem.place) == ("p3", "a", "a.csv, row 3")
    assert "Column 'sex' holds none of ['f', 'm']" in problem.problem


# ---- rows and files that are wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("feature-1", "high", "Column 'feature-1' holds text"),
        ("feature-1", "inf", "Column 'feature-1' holds an infinite or immense number"),
        ("feature-1", "1e300", "Column 'feature-1' holds an infinite or immense number"),
    ],
)
def test_a_row_that_cannot_be_read_costs_its_own_patient_only(site, column, value, said):
    patient = change(site, "clinical.csv", column, 2, value)
    problems: list[Problem] = []

    found = table_of(open_patients(site, AGREED), problems=problems)

    assert [(one.patient_id, one.modality, one.place) for one in problems] == [
        (patient, "clinical", "clinical.csv, row 3")
    ]
    assert said in problems[0].problem
    assert_same(found.drop(index=patient), expected().drop(index=patient))
    assert "clinical" not in found.loc[patient, "modalities"]


def test_a_patient_with_two_rows_has_none(site):
    frame = pd.read_csv(site / "clinical.csv", dtype={"patient_id": str})
    frame.loc[1, "patient_id"] = patient = frame.loc[0, "patient_id"]
    frame.to_csv(site / "clinical.csv", index=False)

    patients = open_patients(site, AGREED)

    assert [one.patient_id for one in patients.problems] == [patient, patient]
    assert all("another row in this table" in one.problem for one in patients.problems)
    assert patient not in patients.sources["clinical"].places


def test_a_visit_without_time_takes_the_whole_series_out(site):
    patient = change(site, "visits.csv", "time_days", 0, None)

    patients = open_patients(site, AGREED)

    assert [one.place for one in patients.problems] == ["visits.csv, row 1"]
    assert "has no time" in patients.problems[0].problem
    assert patient not in patients.sources["visits"].places


def test_a_row_of_nobody_is_told(site):
    change(site, "clinical.csv", "patient_id", 0, None)

    [problem] = open_patients(site, AGREED).problems

    assert problem.patient_id == ""
    assert "'patient_id' is empty" in problem.problem


def test_who_has_nothing_but_what_cannot_be_read_is_told_so(tmp_path):
    (tmp_path / "clinical.csv").write_text("patient_id,feature-0,feature-1,feature-2\np1,x,1,1\np2,1,1,1\n")

    found = table_of(open_patients(tmp_path, AGREED))

    assert found.loc["p1", "status"] == "not predicted: what was measured cannot be read"
    assert found.loc["p2", "status"] == "predicted"


def test_a_file_that_cannot_be_read_costs_its_own_patient_only(site):
    path = sorted((site / "slide").glob("*.npz"))[0]
    path.write_bytes(b"not an archive")
    problems: list[Problem] = []

    found = table_of(open_patients(site, AGREED), problems=problems)

    [problem] = problems
    assert (problem.patient_id, problem.modality, problem.place) == (path.stem, "slide", path.name)
    assert_same(found.drop(index=path.stem), expected().drop(index=path.stem))


def test_a_bag_of_another_width_costs_its_own_patient_only(site):
    path = sorted((site / "slide").glob("*.npz"))[0]
    np.savez(path, features=np.zeros((2, 5)))
    problems: list[Problem] = []

    table_of(open_patients(site, AGREED), problems=problems)

    assert "has 5 columns, and 3 features are to be read" in problems[0].problem


def test_two_files_of_one_patient_are_told(site):
    path = sorted((site / "slide").glob("*.npz"))[0]
    np.save(path.with_suffix(".npy"), np.zeros((2, 3)))

    [problem] = open_patients(site, AGREED).problems

    assert "Several files are one patient's" in problem.problem


# ---- what is refused, what is told --------------------------------------------------------------


def test_missing_columns_are_told_by_name_and_how_they_are_taken(site):
    frame = pd.read_csv(site / "clinical.csv").drop(columns="feature-1")
    frame.to_csv(site / "clinical.csv", index=False)

    [notice] = open_patients(site, AGREED).notices

    assert notice.startswith(
        "Modality 'clinical' lacks 1 of the 3 features that the model reads: 'feature-1'."
    )
    assert "count as not measured" in notice


def test_a_missing_column_counts_as_empty_cells(site):
    frame = pd.read_csv(site / "clinical.csv", dtype={"patient_id": str})
    frame.assign(**{"feature-1": np.nan}).to_csv(site / "clinical.csv", index=False)
    empty = table_of(open_patients(site, AGREED))

    frame.drop(columns="feature-1").to_csv(site / "clinical.csv", index=False)

    assert_same(table_of(open_patients(site, AGREED)), empty)


def test_other_units_are_told_by_the_names_of_the_columns(site):
    frame = pd.read_csv(site / "clinical.csv", dtype={"patient_id": str})
    frame["feature-2"] = 1000 * frame["feature-2"]
    frame.to_csv(site / "clinical.csv", index=False)
    watch = UnitWatch(BUNDLE.models.merged.blocks)

    for _ in predict_in_batches(
        BUNDLE, open_patients(site, AGREED), choose_model(BUNDLE), batch_size=5, watch=watch
    ):
        pass

    [notice] = watch.notices()
    assert notice.startswith("Modality 'clinical': most values of 'feature-2' lie more than 10 standard")


def test_usual_units_are_not_remarked_on(site):
    watch = UnitWatch(BUNDLE.models.merged.blocks)
    for _ in predict_in_batches(BUNDLE, open_patients(site, AGREED), choose_model(BUNDLE), watch=watch):
        pass

    assert watch.notices() == []


def test_a_described_modality_without_files_is_told(site):
    (site / "clinical.csv").unlink()

    patients = open_patients(site, AGREED)

    assert "'clinical' is in 'site.toml' and its files are not in the folder" in patients.notices[0]
    assert "clinical" not in patients.sources


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "patient_id,height\np1,1\n", "holds none of the features"),
        ("t.csv", "id,feature-0\np1,1\n", r"lacks 1 columns .*\['patient_id'\]"),
        ("t.csv", "", "cannot be read"),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)

    with pytest.raises(DataError, match=said):
        open_patients(tmp_path / name, AGREED)


def test_a_series_without_times_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("patient_id,feature-0\np1,1\n")

    with pytest.raises(DataError, match=r"lacks 1 columns .*\['time_days'\]"):
        open_patients(tmp_path / "t.csv", AGREED, modality="visits")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds nothing of the modalities"):
        open_patients(tmp_path, AGREED)


def test_nothing_at_all_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither a file nor a folder") as caught:
        open_patients(tmp_path / "nowhere", AGREED)
    assert str(tmp_path) not in caught.value.public


def test_an_unknown_modality_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"knows no modality 'rna'. It knows"):
        open_patients(tmp_path, AGREED, modality="rna")


# ---- what is described ---------------------------------------------------------------------------


def test_a_description_may_name_its_columns_and_files_otherwise(tmp_path):
    (tmp_path / "people.csv").write_text("pid,feature-0,feature-1,sick\np1,1,2,\np2,3,4,\n")
    (tmp_path / "labs.csv").write_text("pid,day,feature-0,feature-1\np1,3,1,1\np1,1,2,2\n")
    settings = Tables.model_validate(
        {
            "patients": "people.csv",
            "id_column": "pid",
            "outcome": LabelsOutcome(columns=("sick",)),
            "modalities": {
                "clinical": {"layout": "table"},
                "visits": {"layout": "series", "file": "labs.csv", "time_column": "day"},
            },
        }
    )
    write_description(tmp_path, settings)

    patients = open_patients(tmp_path, AGREED)
    [(cohort, _)] = patients.batches(5)

    assert [r.patient_id for r in cohort.records] == ["p1", "p2"]
    assert cohort.records[0].modalities["visits"].times_days.tolist() == [1.0, 3.0]
    assert cohort.records[1].modalities["clinical"].values[0, :2].tolist() == [3.0, 4.0]
    assert "'feature-2'" in patients.notices[0]


def test_a_description_of_another_layout_is_refused(tmp_path):
    (tmp_path / "clinical.csv").write_text("patient_id,t,feature-0\np1,1,2\n")
    own = {"clinical": {"layout": "series", "file": "clinical.csv", "time_column": "t"}}
    write_description(tmp_path, Tables.model_validate({"outcome": SurvivalOutcome(), "modalities": own}))

    with pytest.raises(DataError, match="calls modality 'clinical' a series, and in the run it is a table"):
        open_patients(tmp_path, AGREED)


def test_a_published_dataset_is_read_as_in_training(tmp_path):
    agreed = {"clinical": ModalitySchema(layout="table", features=("age", "size"))}
    (tmp_path / "site.toml").write_text('[data]\nkind = "breast"\n')

    patients = open_patients(tmp_path, agreed)

    assert len(patients) == 198
    assert "'expression'" in patients.notices[0]


def test_a_description_that_is_no_toml_is_refused(tmp_path):
    (tmp_path / "site.toml").write_text("data = {")

    with pytest.raises(DataError, match=r"'site.toml' is not TOML"):
        open_patients(tmp_path, AGREED)


def write_description(folder: Path, settings: Tables) -> None:
    (folder / "site.toml").write_text(tomli_w.dumps({"name": "here", "data": settings.to_plain()}))
