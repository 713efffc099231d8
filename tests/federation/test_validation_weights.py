"""Weights of modalities from validation at the sites, without paired patients."""

from collections.abc import Callable

import pytest
import torch
from flwr.app import Message
from rehearsal import Rehearsal, Run, tiny_plan
from torch import Tensor

from client.records import read_letter, reply_with
from lego_core import LegoMerge
from lego_core.evaluation import score
from lego_core.merging import Slerp
from lego_core.protocol import AskBlockUpdate, AskReport, Letter, Progress, Update

CLINIC, OTHER_CLINIC, LAB, TEACHING, DISTRICT = range(5)
WEIGHTS = {"clinical": 0.4, "blood": 0.1}  # of scores 0.8 and 0.45
SCORES = {"clinical": 0.8, "blood": 0.45}
PLAN = """
[merging]
modality-weights = WEIGHTS
[merging.trunk]
kind = "slerp"
[rounds]
rounds = 1
"""
DISTRICT_OF_ONE_MODALITY = """
[simulation.data]
patients = 260
[[simulation.groups]]
name = "clinic"
modalities = ["clinical"]
hospitals = 2
split = { train = 0.8, validation = 0.2, test = 0.0 }
[[simulation.groups]]
name = "lab"
modalities = ["blood"]
split = { train = 0.8, validation = 0.2, test = 0.0 }
[[simulation.groups]]
name = "teaching"
modalities = ["clinical", "blood"]
share = 2
split = { train = 0.4, validation = 0.2, test = 0.4 }
[[simulation.groups]]
name = "district"
modalities = ["blood"]
split = { train = 0.5, validation = 0.1, test = 0.4 }
"""
Asked = list[tuple[int, Letter]]


def scored_as_told(message: Message, answer: Callable[[], Message]) -> Message:
    """Every site says that the blocks do on its validation patients as `SCORES` has it."""
    question, letter = read_letter(message), read_letter(answer())
    if question.kind != AskBlockUpdate.kind:
        return reply_with(letter, message)
    said = {"validation_score": SCORES[AskBlockUpdate.read(question).modality], "validation_pairs": 10.0}
    if letter.kind == Progress.kind:
        return reply_with(Progress.read(letter).model_copy(update=said).letter(), message)
    update = Update.read(letter)
    progress = update.progress.model_copy(update=said)
    return reply_with(update.model_copy(update={"progress": progress}).letter(letter.tensors), message)


@pytest.fixture(scope="module")
def asked() -> Asked:
    """What the sites of the weighted run were asked."""
    return []


@pytest.fixture(scope="module")
def weighted(run: Run, asked: Asked) -> Rehearsal:
    def note(site: int, message: Message, answer: Callable[[], Message]) -> Message:
        asked.append((site, read_letter(message)))
        return scored_as_told(message, answer)

    return run(tiny_plan(PLAN.replace("WEIGHTS", '"validation"') + DISTRICT_OF_ONE_MODALITY), note)


def blocks_of(ended: Rehearsal) -> list:
    return list(ended.bundle.models.merged.blocks.values())


def logits(ended: Rehearsal, model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(ended.patients(TEACHING).batch())


def test_bundle_predicts_as_a_merge_with_the_weights_of_the_scores(weighted: Rehearsal) -> None:
    expected = LegoMerge(blocks_of(weighted), trunk=Slerp(), modality_weights=WEIGHTS)

    assert weighted.error is None
    said = logits(weighted, weighted.bundle.model)
    torch.testing.assert_close(said, logits(weighted, expected), rtol=1e-5, atol=1e-6)
    equal = LegoMerge(blocks_of(weighted), trunk=Slerp())
    assert (said - logits(weighted, equal)).abs().max() > 1e-5


def test_diary_and_report_tell_the_weights(weighted: Rehearsal) -> None:
    (event,) = [one for one in weighted.events if one["event"] == "merged"]

    assert event["weights"] == pytest.approx(WEIGHTS)
    assert weighted.report.modality_weights == pytest.approx(WEIGHTS)


def test_a_site_with_fewer_modalities_is_sent_its_weight_and_no_other(
    weighted: Rehearsal, asked: Asked
) -> None:
    sent = {
        site: {name: tensor.item() for name, tensor in letter.tensors.items() if "merged.weights." in name}
        for site, letter in asked
        if letter.kind == AskReport.kind
    }

    assert sent[DISTRICT] == pytest.approx({"merged.weights.blood.weight": 0.1})
    assert sent[TEACHING] == pytest.approx(
        {"merged.weights.blood.weight": 0.1, "merged.weights.clinical.weight": 0.4}
    )


def test_sites_score_the_very_merge_that_is_handed_over(weighted: Rehearsal) -> None:
    bundle, test = weighted.bundle, weighted.patients(TEACHING).part("test")
    assert weighted.report.results is not None
    (row,) = [
        one
        for one in weighted.report.results.scores
        if (one.method, one.patients) == ("merge", "complete") and len(one.modalities) == 2
    ]

    assert row.value == pytest.approx(score(bundle.model, test, task=bundle.agreement.task).value, abs=1e-6)


def test_numbers_in_the_plan_go_the_same_way(run: Run) -> None:
    ended = run(tiny_plan(PLAN.replace("WEIGHTS", "{ clinical = 0.3, blood = 0.9 }")))

    assert ended.report.modality_weights == pytest.approx({"clinical": 0.3, "blood": 0.9})
    assert ended.bundle.models.merged.modality_weights == pytest.approx({"clinical": 0.3, "blood": 0.9})


def test_without_weights_all_modalities_count_the_same(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 1"))

    assert ended.report.modality_weights == {"clinical": 1.0, "blood": 1.0}


def test_true_scores_of_the_sites_are_what_counts(run: Run) -> None:
    ended = run(tiny_plan('[merging]\nmodality-weights = "validation"\n[rounds]\nrounds = 1'))
    merged, task = ended.bundle.models.merged, ended.bundle.agreement.task
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
