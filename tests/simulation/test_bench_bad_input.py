"""Datasets that ten lines describe, and requests that do not fit: every fault is a sentence."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bench_runs import TEN_LINES, Guess, prepare, run_here, write, write_people
from tiny_files import tiny_dataset
from typer.testing import CliRunner

from lego_core.errors import DataError, LegoError, PlanError
from lego_core.tasks import Classification, MultiLabel, Survival
from simulations.baselines import BASELINES
from simulations.benchmarks.methods import choose_methods
from simulations.benchmarks.subject import Source, open_subject
from simulations.benchmarks.table import markdown
from simulations.cli import app


def test_ten_lines_about_a_dataset_never_seen_are_enough(tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)
    source = Source(dataset=write(tmp_path / "people.toml", TEN_LINES))
    subject = open_subject(source)
    assert subject.plan.task == Classification(classes=("ill", "well"))
    assert {name: one.encoder.kind for name, one in subject.plan.modalities.items()} == {
        "blood": "tabular",
        "visits": "time_series",
    }

    results = run_here(prepare(source, tmp_path / "out", quick=True), ["merge:mean", "fuse:weave"])

    assert results.metric == "AUROC"
    assert results.methods["merge:mean"].mean is not None
    assert "**A quick look: few trials, little training. Do not quote it.**" in markdown(results)


def test_the_task_follows_from_the_outcome(tmp_path: Path) -> None:
    def task_of(outcome: str) -> object:
        text = tiny_dataset("one", "two", patients=60, outcome=outcome)
        return open_subject(Source(dataset=write(tmp_path / f"{outcome[10:13]}.toml", text))).plan.task

    assert task_of('{ kind = "survival" }') == Survival()
    assert task_of('{ kind = "class", classes = 3 }') == Classification(
        classes=("class 0", "class 1", "class 2")
    )
    assert task_of('{ kind = "labels", labels = 2 }') == MultiLabel(labels=("label 0", "label 1"))


def test_classes_that_are_numbers_are_in_order_of_size(tmp_path: Path) -> None:
    write_people(tmp_path, ["10", "2", "9"] * 8)
    subject = open_subject(Source(dataset=write(tmp_path / "people.toml", TEN_LINES)))

    assert subject.plan.task == Classification(classes=("2", "9", "10"))
    assert subject.notes == ("The 3 classes are those found in column 'fate': ['2', '9', '10'].",)


@pytest.mark.parametrize("nothing", ["", "NA", "NaN"])
def test_what_says_that_nothing_is_known_is_no_class(nothing: str, tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "ill", "well", nothing, "ill"] * 5)
    subject = open_subject(Source(dataset=write(tmp_path / "people.toml", TEN_LINES)))

    assert subject.plan.task == Classification(classes=("ill", "well"))
    assert len(subject.cohort) == 20
    assert subject.notes == (
        "The 2 classes are those found in column 'fate': ['ill', 'well'].",
        "5 of 25 patients have no known outcome and are left out.",
    )


def test_a_class_that_is_listed_may_be_called_na(tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "NA", "", "well", "NA"] * 5)
    text = TEN_LINES.replace('column = "fate"', 'column = "fate", classes = ["NA", "well"]')
    subject = open_subject(Source(dataset=write(tmp_path / "people.toml", text)))

    assert subject.plan.task == Classification(classes=("NA", "well"))
    assert subject.notes == ("5 of 25 patients have no known outcome and are left out.",)


def test_a_column_of_very_many_classes_is_not_spelled_out(tmp_path: Path) -> None:
    write_people(tmp_path, [f"fate {index}" for index in range(12)])
    subject = open_subject(Source(dataset=write(tmp_path / "people.toml", TEN_LINES)))

    assert subject.notes == ("The 12 classes are those found in column 'fate': too many to be named here.",)


def test_a_modality_of_constant_columns_is_left_out_by_name(tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)
    text = TEN_LINES.replace('features = ["a", "b"]', 'features = ["b"]')
    subject = open_subject(Source(dataset=write(tmp_path / "people.toml", text)))

    assert subject.modalities == ("visits",)
    assert subject.cohort.modalities == ("visits",)
    assert subject.notes[1:] == ("Modality 'blood' is left out: no column of it varies between patients.",)


def test_nothing_but_constant_columns_is_an_error(tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)
    text = TEN_LINES.split("[modalities.visits]")[0].replace('["a", "b"]', '["b"]')

    with pytest.raises(DataError, match=r"No column of any modality varies between patients \(\['blood'\]\)"):
        open_subject(Source(dataset=write(tmp_path / "people.toml", text)))


def test_patients_without_any_modality_are_left_out_in_words(tmp_path: Path) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)
    people = pd.read_csv(tmp_path / "people.csv", dtype={"id": str})
    people.loc[:2, ["a", "b"]] = np.nan
    people.to_csv(tmp_path / "people.csv", index=False)
    text = TEN_LINES.split("[modalities.visits]")[0]
    subject = open_subject(Source(dataset=write(tmp_path / "people.toml", text)))

    assert len(subject.cohort) == 47
    assert subject.notes[1:] == ("3 of 50 patients hold none of the modalities and are left out.",)


SURVIVAL = '{ kind = "survival", event-column = "died", time-column = "days" }'
CLASS = '{ kind = "class", column = "fate" }'
LABELS = '{ kind = "labels", columns = ["died", "moved"] }'


def forget_outcomes(folder: Path, outcome: str, cells: dict[str, Sequence[int]]) -> Source:
    """Fifty patients with everything that an outcome can be; some cells of it are empty."""
    folder.mkdir(exist_ok=True)
    write_people(folder, ["well", "ill"] * 25)
    people = pd.read_csv(folder / "people.csv", dtype={"id": str})
    people = people.assign(died=people.index % 2, moved=people.index % 3 % 2, days=100.0 + people.index)
    for column, rows in cells.items():
        people[column] = people[column].astype(object).where(~people.index.isin(list(rows)))
    people.to_csv(folder / "people.csv", index=False)
    text = TEN_LINES.replace(CLASS, outcome)
    return Source(dataset=write(folder / "people.toml", text))


@pytest.mark.parametrize(
    ("outcome", "cells"),
    [
        (SURVIVAL, {"died": [4, 31], "days": [31, 40]}),
        (CLASS, {"fate": [4, 31, 40]}),
        ('{ kind = "class", column = "fate", classes = ["ill", "well"] }', {"fate": [4, 31, 40]}),
        (LABELS, {"died": [4], "moved": [31, 40]}),
    ],
)
def test_patients_whose_outcome_is_not_known_are_left_out_in_words(
    outcome: str, cells: dict[str, Sequence[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BASELINES, "good", Guess())
    source = forget_outcomes(tmp_path, outcome, cells)
    cohort = open_subject(source).cohort
    everybody = open_subject(forget_outcomes(tmp_path / "whole", outcome, {})).cohort

    left = [record for index, record in enumerate(everybody.records) if index not in (4, 31, 40)]
    assert [(one.patient_id, one.outcome) for one in cohort.records] == [
        (one.patient_id, one.outcome) for one in left
    ]
    assert all(set(record.modalities) == {"blood", "visits"} for record in cohort.records)

    results = run_here(prepare(source, tmp_path / "out"), ["baseline:good"])

    assert "- 3 of 50 patients have no known outcome and are left out." in markdown(results)
    assert results.methods["baseline:good"].patients == 47


@pytest.mark.parametrize(
    ("outcome", "cells", "sentence"),
    [
        (
            SURVIVAL,
            {"days": range(50)},
            r"The patients table lacks the outcome of 50 of 50 patients .*\. Name the columns that tell it\.",
        ),
        (
            '{ kind = "class", column = "fate", classes = ["ill", "well"] }',
            {"fate": range(50)},
            r"lacks the outcome of 50 of 50 patients \(columns \['fate'\]\)\. Name the columns that tell",
        ),
        (
            CLASS,
            {"fate": range(50)},
            "Column 'fate' of the patients table holds no class for any of 50 patients. Fill it in, or name "
            "another column as 'column' of the outcome.",
        ),
        (
            CLASS,
            {"fate": [*range(0, 50, 2), 31]},
            r"Column 'fate' of the patients table holds one class only, \['ill'\], for 24 of 50 patients, "
            "and two are the least. Add patients of another class, or name another column as 'column' of ",
        ),
        (SURVIVAL, {"days": range(49)}, "too few patients: 1, and at least 2 are needed"),
    ],
)
def test_outcomes_of_which_nothing_can_be_learned_are_an_error(
    outcome: str, cells: dict[str, Sequence[int]], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=sentence):
        open_subject(forget_outcomes(tmp_path, outcome, cells))


@pytest.mark.parametrize("key", ["ignore-unknown-outcomes", "ignore_unknown_outcomes"])
@pytest.mark.parametrize(("outcome", "column"), [(SURVIVAL, "died"), (CLASS, "fate")])
def test_a_description_may_refuse_patients_without_outcome(
    outcome: str, column: str, key: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"lacks the outcome of 1 of 50 patients .* set ignore-unknown-outc"):
        open_subject(forget_outcomes(tmp_path, f"{outcome}\n{key} = false", {column: [4]}))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            '["a", "b"]',
            '["a", "weight"]',
            r"lacks 1 columns that the settings name, the first are \['weight'\]",
        ),
        ('column = "fate"', 'column = "end"', r"The patients table lacks 1 columns .* \['end'\]"),
        ('"visits.csv"', '"visit.csv"', "The table of modality 'visits' is not there"),
        (
            'layout = "series"',
            'layout = "serie"',
            "The dataset description 'people.toml': key 'tables.modalities",
        ),
        ("[modalities.blood]", "[modalities.blood", "The dataset description 'people.toml' is not TOML"),
    ],
)
def test_a_description_that_does_not_fit_is_a_sentence(
    old: str, new: str, sentence: str, tmp_path: Path
) -> None:
    write_people(tmp_path, ["well", "ill"] * 25)

    with pytest.raises(DataError, match=sentence):
        open_subject(Source(dataset=write(tmp_path / "people.toml", TEN_LINES.replace(old, new))))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (
            Source(dataset="pcb"),
            r"There is no dataset 'pcb'. The shipped ones are \['breast', .*'icu2012', .*'pbc'",
        ),
        (Source(dataset="gone.toml"), "The dataset description 'gone.toml' cannot be read"),
        (Source(dataset="pbc", plan="icu2012"), r"the data lack \['vitals', 'demographics'\]"),
        (Source(dataset="pbc", plan="other"), "There is no shipped plan 'other'"),
    ],
)
def test_a_dataset_that_is_not_there_is_a_sentence(source: Source, sentence: str) -> None:
    with pytest.raises(LegoError, match=sentence):
        open_subject(source)


def test_an_unknown_method_is_answered_with_the_list() -> None:
    with pytest.raises(
        PlanError, match=r"no method \['merge:meen'\]. The methods are \['block:x', 'best-block'"
    ):
        choose_methods(["merge:meen", "ensemble"], modalities=["x"], unfit={})


def test_a_method_that_is_unfit_is_left_out_and_refused_if_it_is_asked_for() -> None:
    unfit = {"baseline:cox": "It learns survival only."}

    assert "baseline:cox" not in choose_methods(None, modalities=["x"], unfit=unfit)
    with pytest.raises(PlanError, match=r"'baseline:cox' is unfit here\. It learns survival only\."):
        choose_methods(["baseline:cox"], modalities=["x"], unfit=unfit)


def test_the_command_says_an_error_in_words_and_ends_with_2(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["bench", "quality", "--dataset", "pbc", "--methods", "magic", "--output", str(tmp_path)]
    )

    assert done.exit_code == 2
    assert "There is no method ['magic']. The methods are ['block:clinical'" in done.output
    assert not (tmp_path / "bench.json").exists()
