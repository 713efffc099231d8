"""The end of a run: what it recommends, and who has no say in it."""

import json

import pytest
from rehearsal import ListeningGrid, Rehearsal, Run, listening_grid, tiny_plan

from lego_core.bundle import ModelBundle
from lego_core.plan import RunPlan
from lego_core.protocol import SiteReport
from lego_core.recommendation import recommend

GROUPS = """
[simulation.data]
patients = 260
[[simulation.groups]]
name = "clinic"
modalities = ["clinical"]
hospitals = 2
split = {{ train = 0.6, validation = 0.2, test = 0.2 }}
[[simulation.groups]]
name = "lab"
modalities = ["blood"]
split = {{ train = 0.8, validation = 0.2, test = 0.0 }}
[[simulation.groups]]
name = "evaluation-hospital"
modalities = ["clinical", "blood"]
share = 2
split = {{ train = 0.0, validation = {validation}, test = {test} }}
"""
EVALUATOR = "evaluation-hospital"


def plan_with(validation: float) -> RunPlan:
    return tiny_plan(GROUPS.format(validation=validation, test=1 - validation))


@pytest.fixture(scope="module")
def grid() -> type[ListeningGrid]:
    return listening_grid()


@pytest.fixture(scope="module")
def judged(run: Run, grid: type[ListeningGrid]) -> Rehearsal:
    """A run whose evaluation hospital has validation patients."""
    return run(plan_with(0.4), grid=grid)


@pytest.fixture(scope="module")
def unjudged(run: Run) -> Rehearsal:
    """The same run, but the evaluation hospital has test patients only."""
    return run(plan_with(0.0))


def test_validation_patients_of_the_evaluation_hospital_are_scored(judged: Rehearsal) -> None:
    results = judged.report.results
    assert results is not None
    count = len(judged.patients(3).part("validation"))

    assert count >= 10
    assert [(one.method, one.modalities) for one in results.validation] == [
        ("block", ("blood",)),
        ("block", ("clinical",)),
        ("ensemble", ("clinical", "blood")),
        ("merge", ("clinical", "blood")),
    ]
    assert {(one.sites, one.count, one.patients) for one in results.validation} == {
        ((EVALUATOR,), count, "complete")
    }


def test_run_recommends_what_its_validation_shows(judged: Rehearsal) -> None:
    report = judged.report
    advice = report.recommendation
    assert report.results is not None
    assert advice is not None

    assert advice == recommend(report.results, modalities=("clinical", "blood"))
    assert advice.candidate is not None
    assert advice.gain is not None
    assert f"{advice.gain.patients} validation patients with every modality" in advice.sentence
    assert advice.on_test is not None
    assert advice.on_test.patients == len(judged.patients(3).part("test"))


def test_recommendation_is_in_the_bundle_the_page_and_the_diary(judged: Rehearsal) -> None:
    advice = judged.report.recommendation
    assert advice is not None

    assert ModelBundle.load(judged.output / "bundle").report.recommendation == advice
    assert "Recommended: " in (judged.output / "bundle" / "card.md").read_text()
    assert advice.sentence in (judged.output / "report.html").read_text()
    assert [one["sentence"] for one in judged.events if one["event"] == "recommended"] == [advice.sentence]
    written = json.loads((judged.output / "bundle" / "report.json").read_bytes())
    assert written["recommendation"]["sentence"] == advice.sentence


def test_without_complete_validation_patients_the_best_block_is_recommended(unjudged: Rehearsal) -> None:
    report = unjudged.report
    assert report.results is not None
    assert report.recommendation is not None

    assert report.results.validation == ()
    assert (report.recommendation.method, report.recommendation.modality) == (
        "block",
        report.results.best_block,
    )
    assert report.recommendation.sentence.endswith(
        "Nothing shows that merging pays: no site scored validation patients who have every modality. "
        "A hospital with some of them would change that."
    )


def test_who_only_evaluates_has_no_say_in_training(judged: Rehearsal, unjudged: Rehearsal) -> None:
    with_a_say = [site for one in judged.report.rounds for site in one.asked]

    assert EVALUATOR not in with_a_say
    assert judged.weights_hash == unjudged.weights_hash
    assert judged.report.kept_rounds == unjudged.report.kept_rounds
    assert judged.report.results is not None
    assert unjudged.report.results is not None
    assert judged.report.results.best_block == unjudged.report.results.best_block
    assert [one.validation_loss for one in judged.report.rounds] == [
        one.validation_loss for one in unjudged.report.rounds
    ]


def test_validation_patients_leave_their_hospital_as_scores_alone(
    judged: Rehearsal, grid: type[ListeningGrid]
) -> None:
    sent = [one.letter for one in grid.overheard if one.site == 3 and one.letter]

    assert [letter.kind for letter in sent] == ["offer", SiteReport.kind]


def test_forecast_of_two_blocks_cannot_be_ranked(judged: Rehearsal) -> None:
    results, back = judged.report.results, judged.report.hindsight
    assert results is not None
    assert back is not None

    (pair,) = results.pair_merges
    alone = {one.modalities: one.value for one in results.headline() if one.method == "block"}
    (merged,) = [one for one in results.headline() if one.method == "merge"]
    assert {pair.first, pair.second} == {"clinical", "blood"}
    assert pair.gain.value == pytest.approx(merged.value - max(alone.values()))
    assert back.sentence.endswith("1 pair of blocks could be, and a ranking needs 3.")
