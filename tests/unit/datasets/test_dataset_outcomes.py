"""Outcomes in the columns of a patients table."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lego_core.datasets import ClassOutcome, LabelsOutcome, OutcomeColumns, Tables
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


@pytest.mark.parametrize("cell", ["", "SECRET"])
def test_a_class_that_is_not_listed_is_refused_without_being_named(tmp_path: Path, cell: str) -> None:
    table = f"patient_id,class,x\n1,ill,1\n2,{cell},2\n"

    with pytest.raises(
        DataError, match=r"holds none of the classes \['ill', 'well'\] for 1 of 2 patients \(column 'class'\)"
    ) as caught:
        outcomes(tmp_path, table, ClassOutcome(classes=("ill", "well")))

    assert "SECRET" not in caught.value.public
    assert cell in caught.value.local


@pytest.mark.parametrize(
    ("cell", "sentence"), [("0.5", "something else than 0 and 1"), ("", "lacks the outcome of 1")]
)
def test_labels_other_than_0_and_1_are_refused(tmp_path: Path, cell: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        outcomes(tmp_path, f"patient_id,a,x\n1,{cell},1\n2,1,2\n", LabelsOutcome(columns=("a",)))


def test_classes_are_listed_once() -> None:
    with pytest.raises(ValidationError, match="a class is listed twice; list every class once"):
        ClassOutcome(classes=("ill", "ill"))
