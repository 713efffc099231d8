"""Weights of modalities from validation at the sites, without paired patients."""

import pytest
import torch
from faults import scoring
from rehearsal import Rehearsal, Run
from tiny_plans import AND_A_DISTRICT, CLINIC, DISTRICT, LAB, OTHER_CLINIC, TEACHING, tiny_plan

from lego_core import LegoMerge
from lego_core.evaluation import score
from lego_core.merging import Slerp
from lego_core.plan import RunPlan
from lego_core.protocol import AskFuseUpdate, AskReport

WEIGHTS = {"clinical": 0.4, "blood": 0.1}  # of scores 0.8 and 0.45
SCORES = {"clinical": 0.8, "blood": 0.45}


def plan_of(weights: str, changes: str = "") -> RunPlan:
    return tiny_plan(f"""
        [merging]
        modality-weights = {weights}
        [merging.trunk]
        kind = "slerp"
        [rounds]
        rounds = 1
        {changes}
    """)


@pytest.fixture(scope="module")
def weighted(run: Run) -> Rehearsal:
    return run(plan_of('"validation"', AND_A_DISTRICT), scoring(SCORES))


def test_bundle_predicts_as_a_merge_with_the_weights_of_the_scores(weighted: Rehearsal) -> None:
    equal = LegoMerge(weighted.blocks, trunk=Slerp())
    expected = LegoMerge(weighted.blocks, trunk=Slerp(), modality_weights=WEIGHTS)
    batch = weighted.patients(TEACHING).batch()

    weighted.assert_predicts_as(expected, number=TEACHING)
    assert (weighted.bundle.model(batch) - equal.eval()(batch)).abs().max() > 1e-5


def test_diary_and_report_tell_the_weights(weighted: Rehearsal) -> None:
    (event,) = [one for one in weighted.events if one["event"] == "merged"]

    assert event["weights"] == pytest.approx(WEIGHTS)
    assert weighted.report.modality_weights == pytest.approx(WEIGHTS)


def test_a_site_with_fewer_modalities_is_sent_its_weight_and_no_other(weighted: Rehearsal) -> None:
    sent = {
        one.site: {
            name: tensor.item() for name, tensor in one.letter.tensors.items() if "merged.weights." in name
        }
        for one in weighted.asked(AskReport)
    }

    assert sent[DISTRICT] == pytest.approx({"merged.weights.blood.weight": 0.1})
    assert sent[TEACHING] == pytest.approx(
        {"merged.weights.blood.weight": 0.1, "merged.weights.clinical.weight": 0.4}
    )


def test_sites_score_the_very_merge_that_is_handed_over(weighted: Rehearsal) -> None:
    bundle, test = weighted.bundle, weighted.patients(TEACHING).part("test")

    (row,) = weighted.scores(patients="complete", method="merge", modalities=("clinical", "blood"))

    assert row.value == pytest.approx(score(bundle.model, test, task=bundle.agreement.task).value, abs=1e-6)


def test_numbers_in_the_plan_go_the_same_way(run: Run) -> None:
    ended = run(plan_of("{ clinical = 0.3, blood = 0.9 }"))

    assert ended.report.modality_weights == pytest.approx({"clinical": 0.3, "blood": 0.9})
    assert ended.merged.modality_weights == pytest.approx({"clinical": 0.3, "blood": 0.9})


@pytest.mark.parametrize("weights", ['"validation"', "{ clinical = 0.4, blood = 0.1 }"])
def test_fuse_rounds_begin_with_the_head_of_these_weights(run: Run, weights: str) -> None:
    ended = run(plan_of(weights, "[fuse]\nrounds = 1"), scoring(SCORES))

    received = ended.asked(AskFuseUpdate)[0].letter.tensors
    weighted = LegoMerge(ended.blocks, modality_weights=WEIGHTS).merged_head(WEIGHTS)
    equal = LegoMerge(ended.blocks).merged_head(WEIGHTS)
    for name, tensor in weighted.items():
        torch.testing.assert_close(received[f"head.{name}"], tensor)
        assert not torch.allclose(received[f"head.{name}"], equal[name])


def test_the_fused_model_that_is_handed_over_is_the_one_that_was_trained_and_scored(run: Run) -> None:
    ended = run(plan_of('"validation"', "[fuse]\nrounds = 1"), scoring(SCORES))
    fused, test = ended.bundle.models.fused, ended.patients(TEACHING).part("test")
    assert fused is not None

    (row,) = ended.scores(patients="complete", method="fuse", modalities=("clinical", "blood"))

    torch.testing.assert_close(fused.state_dict(), ended.checkpoint(1, "fused", phase="fuse"))
    assert row.value == pytest.approx(score(fused, test, task=ended.bundle.agreement.task).value, abs=1e-6)


def test_without_weights_all_modalities_count_the_same(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 1"))

    assert ended.report.modality_weights == {"clinical": 1.0, "blood": 1.0}


def test_true_scores_of_the_sites_are_what_counts(run: Run) -> None:
    ended = run(tiny_plan('[merging]\nmodality-weights = "validation"\n[rounds]\nrounds = 1'))
    merged, task = ended.merged, ended.bundle.agreement.task
    sites = {"clinical": [CLINIC, OTHER_CLINIC], "blood": [LAB]}

    expected = {}
    for name, numbers in sites.items():
        scores = [
            score(merged.blocks[name], ended.patients(number).part("validation"), task=task)
            for number in numbers
        ]
        pairs = sum(one.pairs for one in scores)
        expected[name] = max(sum(one.value * one.pairs for one in scores) / pairs - 0.5, 0) + 0.1

    assert merged.modality_weights == pytest.approx(expected)
