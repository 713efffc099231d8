"""The end of a run: what it recommends, and who has no say in it."""

import json

import pytest
from rehearsal import Rehearsal, Run
from summing_plans import summing_plan
from tiny_plans import group, patients_of, tiny_plan

from lego_core.bundle import ModelBundle
from lego_core.plan import RunPlan
from lego_core.protocol import Offer, SiteReport
from lego_core.recommendation import recommend

EVALUATOR = "evaluation-hospital"


def plan_with(validation: float) -> RunPlan:
    """A plan whose evaluation hospital has this share of validation patients, and tests on the others."""
    return tiny_plan(
        patients_of(
            group("clinic", "clinical", hospitals=2, split=(0.6, 0.2, 0.2)),
            group("lab", "blood"),
            group(EVALUATOR, "clinical", "blood", share=2, split=(0.0, validation, 1 - validation)),
            patients=260,
        )
    )


@pytest.fixture(scope="module")
def judged(run: Run) -> Rehearsal:
    """A run whose evaluation hospital has validation patients."""
    return run(plan_with(0.4))


@pytest.fixture(scope="module")
def unjudged(run: Run) -> Rehearsal:
    """The same run, but the evaluation hospital has test patients only."""
    return run(plan_with(0.0))


def test_validation_patients_of_the_evaluation_hospital_are_scored(judged: Rehearsal) -> None:
    results = judged.results
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
    advice = judged.report.recommendation
    assert advice is not None

    assert advice == recommend(judged.results, modalities=("clinical", "blood"))
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
    advice = unjudged.report.recommendation
    assert advice is not None

    assert unjudged.results.validation == ()
    assert (advice.method, advice.modality) == ("block", unjudged.results.best_block)
    assert advice.sentence.endswith(
        "Nothing shows that merging pays: no site scored validation patients who have every modality. "
        "A hospital with some of them would change that."
    )


def test_who_only_evaluates_has_no_say_in_training(judged: Rehearsal, unjudged: Rehearsal) -> None:
    with_a_say = [site for one in judged.report.rounds for site in one.asked]

    assert EVALUATOR not in with_a_say
    assert judged.weights_hash == unjudged.weights_hash
    assert judged.report.kept_rounds == unjudged.report.kept_rounds
    assert judged.results.best_block == unjudged.results.best_block
    assert [one.validation_loss for one in judged.report.rounds] == [
        one.validation_loss for one in unjudged.report.rounds
    ]


def test_validation_patients_leave_their_hospital_as_scores_alone(judged: Rehearsal) -> None:
    sent = [one.letter.kind for one in judged.wire.answered if one.site == 3]

    assert sent == [Offer.kind, SiteReport.kind]


def test_forecast_of_two_blocks_cannot_be_ranked(judged: Rehearsal) -> None:
    results, back = judged.results, judged.report.hindsight
    assert back is not None

    (pair,) = results.pair_merges
    alone = {one.modalities: one.value for one in results.headline() if one.method == "block"}
    (merged,) = [one for one in results.headline() if one.method == "merge"]
    assert {pair.first, pair.second} == {"clinical", "blood"}
    assert pair.gain.value == pytest.approx(merged.value - max(alone.values()))
    assert back.sentence.endswith("1 pair of blocks could be, and a ranking needs 3.")


# ---- a run that cannot begin ---------------------------------------------------------------------------


def test_a_run_without_a_roster_that_holds_is_on_record_like_any_other(run: Run) -> None:
    ended = run(summing_plan(), prepare=lambda sites: (sites / "roster.json").unlink())

    assert ended.error is not None
    assert ended.report.status == "failed"
    assert "there is no roster to check the sites' keys with" in ended.report.reason
    assert [one["event"] for one in ended.events] == ["run-started", "finished"]
    assert not ended.wire.asked
