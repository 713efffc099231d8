"""Bags: one modality, its files and its outcomes."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from lego_core.datasets import Bags, ClassOutcome
from lego_core.errors import DataError

OUTCOME = ClassOutcome(classes=("well", "ill"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bags").mkdir()
    (tmp_path / "patients.csv").write_text("patient_id,class\na/1,ill\nb,well\n")
    np.savez(tmp_path / "bags" / "a%2F1.npz", features=np.arange(20.0).reshape(10, 2))
    with h5py.File(tmp_path / "bags" / "b.h5", "w") as file:
        file["features"] = np.array([[1.0, np.nan]])
        file["coords"] = np.zeros((1, 2))
    return tmp_path


def test_identifiers_with_odd_signs_are_spelled_as_in_web_addresses(folder: Path) -> None:
    cohort = Bags(outcome=OUTCOME).load(folder)

    assert [(record.patient_id, record.outcome.values) for record in cohort.records] == [
        ("a/1", (1.0,)),
        ("b", (0.0,)),
    ]
    assert [len(record.modalities["patches"].values) for record in cohort.records] == [10, 1]


def test_a_bag_of_a_patient_without_an_outcome_is_left_out_where_the_settings_allow_it(folder: Path) -> None:
    (folder / "patients.csv").write_text("patient_id,class\na/1,ill\nb,\nc,well\n")

    cohort = Bags(outcome=OUTCOME, ignore_unknown_outcomes=True).load(folder)

    assert [(one.patient_id, *one.modalities) for one in cohort.records] == [("a/1", "patches"), ("c",)]


def test_another_key_reads_another_array(folder: Path) -> None:
    (folder / "bags" / "a%2F1.npz").unlink()

    cohort = Bags(outcome=OUTCOME, key="coords").load(folder)

    assert cohort.records[1].modalities["patches"].values.tolist() == [[0, 0]]


def test_large_bags_give_the_same_rows_each_time_and_other_rows_by_another_seed(folder: Path) -> None:
    def rows(seed: int) -> list[list[float]]:
        bags = Bags(outcome=OUTCOME, max_instances=4, seed=seed)
        return bags.load(folder).records[0].modalities["patches"].values.tolist()

    assert rows(0) == rows(0)
    assert rows(0) != rows(1)
    assert len(rows(0)) == 4
    assert rows(0) == sorted(rows(0))


def test_an_h5_file_without_the_array_is_refused(folder: Path) -> None:
    (folder / "bags" / "a%2F1.npz").unlink()

    with pytest.raises(DataError, match="A file of modality 'patches' holds no array 'x'"):
        Bags(outcome=OUTCOME, key="x").load(folder)
