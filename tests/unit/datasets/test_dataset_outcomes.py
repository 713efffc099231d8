"""Outcomes in the columns of a patients table."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lego_core.datasets import ClassOutcome, LabelsOutcome, OutcomeColumns, SurvivalOutcome, Tables
from lego_core.errors import DataError


def outcomes(folder: Path, table: str, outcome: OutcomeColumns) -> list[tuple[float, ...]]:
    (folder / "patients.csv").write_text(table)
    settings = {"outcome": outcome, "modalities": {"clinical": {"layout": "table", "features": ["x"]}}}
    return [record.outcome.values for record in Tables.model_validate(settings).load(folder).records]


def test_a_class_is_its_place_in_the_settings(tmp_path: Path) -> None:
    found = outcomes(
        tmp_path, "patient_id,class,x\n1,01,1\n2,NA,2\n", ClassOutcome(classes=("NA", "1", "01"))
    )

    assert found == [(2.0,), (0.0,)]


def test_labels_come_in_the_order_of_the_settings(tmp_path: Path) -> None:
    table = "patient_id,a,b,x\n1,0,1,1\n2,1,0,2\n"

    assert outcomes(tmp_path, table, LabelsOutcome(columns=("b", "a"))) == [(1.0, 0.0), (0.0, 1.0)]


def test_a_class_that_is_not_listed_is_refused_without_being_named(tmp_path: Path) -> None:
    table = "patient_id,class,x\n1,ill,1\n2,SECRET,2\n"

    with pytest.raises(
        DataError, match=r"holds none of the classes \['ill', 'well'\] for 1 of 2 patients \(column 'class'\)"
    ) as caught:
        outcomes(tmp_path, table, ClassOutcome(classes=("ill", "well")))

    assert "SECRET" not in caught.value.public
    assert "SECRET" in caught.value.local


@pytest.mark.parametrize("cell", ["", "NA"])
def test_a_class_that_is_not_known_is_refused_with_the_way_to_leave_patients_out(
    tmp_path: Path, cell: str
) -> None:
    """It is not confused with a class that nobody listed."""
    table = f"patient_id,class,x\n1,ill,1\n2,{cell},2\n3,other,3\n"

    with pytest.raises(
        DataError,
        match=r"lacks the outcome of 1 of 3 patients \(columns \['class'\]\)\. Fill it in, take these "
        r"patients out of the table, or set ignore-unknown-outcomes = true\.",
    ):
        outcomes(tmp_path, table, ClassOutcome(classes=("ill", "well")))


@pytest.mark.parametrize(
    ("cell", "sentence"), [("0.5", "something else than 0 and 1"), ("", "lacks the outcome of 1")]
)
def test_labels_other_than_0_and_1_are_refused(tmp_path: Path, cell: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        outcomes(tmp_path, f"patient_id,a,x\n1,{cell},1\n2,1,2\n", LabelsOutcome(columns=("a",)))


@pytest.mark.parametrize(
    ("table", "outcome", "expected"),
    [
        ("id,x,event,time_days\na,1,,5\nb,2,1,6\nc,3,0,\nd,4,0,7\n", SurvivalOutcome(), [(6, 1), (7, 0)]),
        ("id,x,class\na,1,\nb,2,ill\nc,3,\nd,4,NA\n", ClassOutcome(classes=("NA", "ill")), [(1,), (0,)]),
        ("id,x,a\na,1,\nb,2,1\nc,3,\nd,4,0\n", LabelsOutcome(columns=("a",)), [(1,), (0,)]),
    ],
)
def test_patients_without_an_outcome_are_left_out_where_the_settings_allow_it(
    tmp_path: Path, table: str, outcome: OutcomeColumns, expected: list[tuple[float, ...]]
) -> None:
    """Files of a modality may still speak of them, and hospitals stay with their patients."""
    (tmp_path / "patients.csv").write_text(table)
    (tmp_path / "clinical.csv").write_text("id,y\na,1\nb,2\nc,3\nd,4\n")
    settings = {
        "id-column": "id",
        "hospital-column": "x",
        "outcome": outcome,
        "ignore-unknown-outcomes": True,
        "modalities": {"clinical": {"layout": "table", "file": "clinical.csv"}},
    }

    records = Tables.model_validate(settings).load(tmp_path).records

    assert [record.patient_id for record in records] == ["b", "d"]
    assert [record.outcome.values for record in records] == expected
    assert [record.hospital for record in records] == ["2", "4"]
    assert [record.modalities["clinical"].values.item() for record in records] == [2, 4]


def test_classes_are_listed_once() -> None:
    with pytest.raises(ValidationError, match="a class is listed twice; list every class once"):
        ClassOutcome(classes=("ill", "ill"))
