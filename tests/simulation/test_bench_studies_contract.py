"""What every study of `bench study` promises."""

import io
import json
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from pydantic import TypeAdapter
from rich.console import Console
from study_runs import PLACE, README, finished
from torch import Tensor

from lego_core.errors import PlanError
from lego_core.tasks import Survival
from simulations.benchmarks.studies import STUDIES, Study
from simulations.benchmarks.studies._results import StudyResults
from simulations.benchmarks.studies._run import publish
from simulations.benchmarks.studies._words import sentences


@pytest.mark.parametrize("name", list(STUDIES))
def test_a_study_is_a_document_of_its_settings(name: str) -> None:
    study = STUDIES[name]

    assert TypeAdapter(Study).validate_python(study.to_plain()) == study
    assert study.to_plain()["kind"] == name
    assert study.question.endswith("?")
    assert "\n" not in study.question
    assert len(study.how) > 100
    assert "Source:" not in study.how


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_arm_is_measured_once_in_every_trial(name: str) -> None:
    run, results = finished(name)

    assert results.notes == ()
    counted = Counter((m.repeat, m.fold, m.condition, m.method) for m in results.measurements)
    assert set(counted.values()) == {1}
    assert len(counted) == len(results.rows) * len(run.benchmark.protocol.places)
    assert {(row.condition, row.method) for row in results.rows} == {key[2:] for key in counted}


@pytest.mark.parametrize("name", list(STUDIES))
def test_predictions_speak_of_every_test_patient_and_give_the_values_of_the_table(name: str) -> None:
    run, results = finished(name)
    trial = run.benchmark.trial(PLACE)
    outcomes, task = trial.test.batch().outcomes, trial.agreed(Survival())
    tidy = {(m.condition, m.method): m.value for m in results.measurements if m.fold == 1}

    for step in run.study.steps():
        for one in run.notebook.read(PLACE, step):
            if isinstance(one.what, Tensor):
                assert one.what.shape == (len(trial.test), 4)
                assert tidy[one.arm] == pytest.approx(task.score(one.what, outcomes).value)
            else:
                assert tidy[one.arm] == one.what


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_comparison_is_judged_and_the_sentence_says_nothing_else(name: str) -> None:
    _, results = finished(name)

    assert results.comparisons
    for one in results.comparisons:
        assert one.gain is not None, one
        low, high = one.gain.ci95
        assert one.gain.verdict == ("above" if low > 0 else "below" if high < 0 else "no difference")
    assert results.sentence == sentences(results.comparisons)
    for verdict in ("above", "below", "no difference"):
        there = any(one.gain and one.gain.verdict == verdict for one in results.comparisons)
        assert (verdict in results.sentence.lower()) == there


@pytest.mark.parametrize("name", list(STUDIES))
def test_a_quick_look_is_part_of_the_whole_study(name: str) -> None:
    study = STUDIES[name]

    assert study.quick().steps().keys() <= study.steps().keys()


@pytest.mark.parametrize("name", list(STUDIES))
def test_results_table_and_figure_are_written(name: str) -> None:
    run, results = finished(name)
    console = Console(record=True, width=200, file=io.StringIO())

    publish(run, results, console=console)

    folder = run.benchmark.folder
    assert StudyResults.model_validate(json.loads((folder / "results.json").read_text())) == results
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert f"**{results.sentence}**" in table
    assert "Do not quote it" in table
    assert all(f"| {row.condition} | {row.method} |" in table for row in results.rows)
    assert ET.parse(folder / "figure.svg").getroot().tag.endswith("svg")
    assert results.sentence in console.export_text()


@pytest.mark.parametrize("name", list(STUDIES))
def test_the_readme_lists_the_study(name: str) -> None:
    study = STUDIES[name]

    assert f"| `{name}` | {study.question} | `{study.dataset}` |" in README.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["absent", "imbalance", "interference", "later", "paired", "privacy"])
def test_questions_about_several_modalities_need_several(name: str) -> None:
    with pytest.raises(PlanError, match=r"one modality, .'one'."):
        STUDIES[name].check(["one"])
    STUDIES[name].check(["one", "two"])
