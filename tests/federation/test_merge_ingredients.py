"""Merges that need more than the blocks: the common start, and Gram matrices from the sites."""

from collections.abc import Callable

import pytest
import torch
from flwr.app import Message
from rehearsal import Rehearsal, Run, tiny_plan
from torch import Tensor

from client.records import read_letter, reply_with
from lego_core import LegoMerge
from lego_core.assemble import build_block
from lego_core.errors import RunError
from lego_core.evaluation import score
from lego_core.gram import GramStatistics
from lego_core.merging import Dare, RegMean, Slerp, Ties
from lego_core.protocol import AskGrams, AskReport, Grams, Letter

CLINIC, OTHER_CLINIC, LAB, TEACHING, DISTRICT = range(5)
REGMEAN = """
[merging]
apart = ["norms"]
[merging.heads]
kind = "regmean"
gamma = 0.7
[merging.trunk]
kind = "regmean"
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
Answer = Callable[[], Message]


@pytest.fixture(scope="module")
def asked() -> Asked:
    """What the sites of the RegMean run were asked."""
    return []


@pytest.fixture(scope="module")
def regmean(run: Run, asked: Asked) -> Rehearsal:
    def note(site: int, message: Message, answer: Answer) -> Message:
        asked.append((site, read_letter(message)))
        return answer()

    return run(tiny_plan(REGMEAN + DISTRICT_OF_ONE_MODALITY), note)


def blocks_of(ended: Rehearsal) -> list:
    return list(ended.bundle.models.merged.blocks.values())


def start_of(ended: Rehearsal) -> dict[str, Tensor]:
    block = build_block(ended.plan, ended.bundle.agreement, "blood")
    return dict(block.trunk.state_dict())


def grams_over(ended: Rehearsal, sites: dict[str, list[int]]) -> dict[str, GramStatistics]:
    blocks = ended.bundle.models.merged.blocks
    sums = {
        name: [GramStatistics.of(blocks[name], ended.patients(number)) for number in numbers]
        for name, numbers in sites.items()
    }
    return {name: sum(several[1:], start=several[0]) for name, several in sums.items()}


def assert_predicts_as(ended: Rehearsal, expected: LegoMerge, *, number: int = TEACHING) -> None:
    patients = ended.patients(number)
    for cohort in (patients, patients.only("blood"), patients.only("clinical")):
        batch = cohort.batch()
        torch.testing.assert_close(ended.bundle.model(batch), expected.eval()(batch), rtol=1e-5, atol=1e-6)


# ---- RegMean of trunks and heads -------------------------------------------------------------------


def test_run_with_merged_trunks_ends_well(regmean: Rehearsal) -> None:
    assert regmean.error is None
    assert regmean.report.status == "complete"


def test_bundle_predicts_as_a_merge_with_the_matrices_of_all_training_patients(regmean: Rehearsal) -> None:
    grams = grams_over(regmean, {"clinical": [CLINIC, OTHER_CLINIC], "blood": [LAB, DISTRICT]})

    expected = LegoMerge(
        blocks_of(regmean), heads=RegMean(gamma=0.7), trunk=RegMean(), apart=["norms"], grams=grams
    )

    assert_predicts_as(regmean, expected)


def test_that_merge_is_another_than_the_one_without_matrices(regmean: Rehearsal) -> None:
    batch = regmean.patients(TEACHING).batch()

    assert (regmean.bundle.model(batch) - LegoMerge(blocks_of(regmean))(batch)).abs().max() > 1e-5


def test_bundle_needs_the_shared_trunk_once(regmean: Rehearsal) -> None:
    merged = regmean.bundle.models.merged
    shared = sum(tensor.numel() for tensor in merged.shared.by_name().values())

    assert shared > 0
    assert merged.num_parameters == LegoMerge(blocks_of(regmean)).num_parameters - shared


def test_sites_score_the_very_merge_that_is_handed_over(regmean: Rehearsal) -> None:
    bundle, test = regmean.bundle, regmean.patients(TEACHING).part("test")
    assert regmean.report.results
    (row,) = [
        one
        for one in regmean.report.results.scores
        if (one.method, one.patients) == ("merge", "complete") and len(one.modalities) == 2
    ]

    assert row.sites == ("teaching",)
    assert row.value == pytest.approx(score(bundle.model, test, task=bundle.agreement.task).value)


def test_only_sites_that_trained_a_block_are_asked_for_its_matrices(asked: Asked, regmean: Rehearsal) -> None:
    about = {(site, AskGrams.read(letter).modality) for site, letter in asked if letter.kind == AskGrams.kind}

    assert regmean.error is None
    assert about == {(CLINIC, "clinical"), (OTHER_CLINIC, "clinical"), (LAB, "blood"), (DISTRICT, "blood")}


def test_site_with_one_modality_gets_the_shared_trunk_and_no_other_block(
    asked: Asked, regmean: Rehearsal
) -> None:
    (received,) = [
        letter.tensors for site, letter in asked if site == DISTRICT and letter.kind == AskReport.kind
    ]
    shared = regmean.bundle.models.merged.shared.state_dict(prefix="merged.shared.")

    assert shared
    assert all(torch.equal(received[name], tensor) for name, tensor in shared.items())
    assert not [name for name in received if "clinical" in name]


# ---- the common start -----------------------------------------------------------------------------


def test_changes_are_counted_from_the_start_that_all_blocks_had(run: Run) -> None:
    ended = run(tiny_plan('[merging.trunk]\nkind = "ties"\ndensity = 0.5\n[merging.heads]\nkind = "dare"'))

    expected = LegoMerge(blocks_of(ended), trunk=Ties(density=0.5), heads=Dare(), start=start_of(ended))

    assert_predicts_as(ended, expected)


def test_after_a_seed_phase_changes_are_counted_from_its_end(run: Run) -> None:
    ended = run(tiny_plan('[rounds]\nrounds = 2\nseed-rounds = 1\n[merging.trunk]\nkind = "ties"'))
    seeded = {
        name.removeprefix("trunk."): tensor
        for name, tensor in ended.checkpoint(1, "blood").items()
        if name.startswith("trunk.")
    }

    expected = LegoMerge(blocks_of(ended), trunk=Ties(), start=seeded)

    assert_predicts_as(ended, expected)
    for name, tensor in expected.shared.by_name().items():
        torch.testing.assert_close(ended.bundle.models.merged.shared.by_name()[name], tensor)
    from_the_beginning = LegoMerge(blocks_of(ended), trunk=Ties(), start=start_of(ended)).shared.by_name()
    assert any(
        not torch.equal(tensor, from_the_beginning[name])
        for name, tensor in expected.shared.by_name().items()
    )


# ---- fuse ------------------------------------------------------------------------------------------


def test_fuse_rounds_begin_with_the_head_that_was_merged(run: Run) -> None:
    received: list[Letter] = []

    def note(_site: int, message: Message, answer: Answer) -> Message:
        letter = read_letter(message)
        received.extend([letter] if letter.kind == "train.fuse" else [])
        return answer()

    ended = run(tiny_plan(f"{REGMEAN}\n[fuse]\nrounds = 1"), note)

    assert ended.error is None
    merged = ended.bundle.models.merged.merged_head(["clinical", "blood"])
    for name, tensor in merged.items():
        torch.testing.assert_close(received[0].tensors[f"head.{name}"], tensor)


# ---- sites that do not answer as they should ---------------------------------------------------------


def breaks(_message: Message, _answer: Answer) -> Message:
    raise RuntimeError("the disk is full")


def with_tensors(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[..., Message]:
    def spoil(message: Message, answer: Answer) -> Message:
        tensors = change(dict(read_letter(answer()).tensors))
        return reply_with(Grams(modality="clinical").letter(tensors), message)

    return spoil


SPOILT: dict[str, tuple[Callable[..., Message], str]] = {
    "it breaks": (breaks, "Flower reports for the site"),
    "a layer is missing": (
        with_tensors(lambda tensors: {n: t for n, t in tensors.items() if n != "head.linear"}),
        "Statistics arrived with the sizes",
    ),
    "not finite": (
        with_tensors(lambda tensors: {n: t * float("nan") for n, t in tensors.items()}),
        "arrived with values that are not finite",
    ),
    "no sum of squares": (
        with_tensors(lambda tensors: {n: -t if t.ndim else t for n, t in tensors.items()}),
        "arrived with entries that no sum of x x^T has",
    ),
}


FAITHFUL_CLINIC, LAB_OF_FIVE = len(SPOILT), len(SPOILT) + 1
FIVE_CLINICS = """
[simulation.data]
patients = 300
[[simulation.groups]]
name = "clinic"
modalities = ["clinical"]
hospitals = 5
split = { train = 0.8, validation = 0.2, test = 0.0 }
[[simulation.groups]]
name = "lab"
modalities = ["blood"]
split = { train = 0.8, validation = 0.2, test = 0.0 }
[[simulation.groups]]
name = "teaching"
modalities = ["clinical", "blood"]
split = { train = 0.2, validation = 0.2, test = 0.6 }
"""


@pytest.fixture(scope="module")
def spoilt(run: Run) -> Rehearsal:
    """Every clinic but the last spoils its matrices in a way of its own."""
    ways = dict(enumerate(SPOILT.values()))

    def fault(number: int, message: Message, answer: Answer) -> Message:
        asked = read_letter(message).kind == AskGrams.kind
        return ways[number][0](message, answer) if asked and number in ways else answer()

    return run(tiny_plan(REGMEAN + FIVE_CLINICS), fault)


@pytest.mark.parametrize("name", SPOILT)
def test_site_without_usable_matrices_is_left_out_by_name(spoilt: Rehearsal, name: str) -> None:
    (absence,) = spoilt.left_out(f"clinic-{list(SPOILT).index(name) + 1}")

    assert (absence.phase, absence.modality) == ("merge", "clinical")
    assert SPOILT[name][1] in absence.reason


def test_merge_goes_on_with_the_matrices_of_the_others(spoilt: Rehearsal) -> None:
    grams = grams_over(spoilt, {"clinical": [FAITHFUL_CLINIC], "blood": [LAB_OF_FIVE]})

    expected = LegoMerge(
        blocks_of(spoilt), heads=RegMean(gamma=0.7), trunk=RegMean(), apart=["norms"], grams=grams
    )

    assert spoilt.report.status == "complete-with-absences"
    assert_predicts_as(spoilt, expected, number=LAB_OF_FIVE + 1)


def test_site_of_few_patients_sends_no_matrices(run: Run) -> None:
    ended = run(tiny_plan(f"{REGMEAN}\n[evaluation]\nsmallest-count = 30\n[simulation.data]\npatients = 160"))

    reasons = {one.site: one.reason for one in ended.report.left_out if one.phase == "merge"}
    assert reasons
    for site, reason in reasons.items():
        assert f"Site '{site}' has" in reason
        assert "and sums over fewer than 30 would tell too much of each" in reason


def test_run_in_which_nobody_gives_matrices_of_a_block_says_so(run: Run) -> None:
    def fault(number: int, message: Message, answer: Answer) -> Message:
        if (number, read_letter(message).kind) == (LAB, AskGrams.kind):
            raise RuntimeError
        return answer()

    ended = run(tiny_plan(REGMEAN), fault)

    assert isinstance(ended.error, RunError)
    assert (
        "Gram matrices; 0 sites gave theirs of block 'blood' and the plan asks for 1" in ended.report.reason
    )
    assert ended.report.status == "failed"


def test_a_merge_that_needs_no_matrices_asks_for_none(run: Run) -> None:
    kinds: list[str] = []

    def note(_site: int, message: Message, answer: Answer) -> Message:
        kinds.append(read_letter(message).kind)
        return answer()

    ended = run(tiny_plan('[merging.trunk]\nkind = "slerp"'), note)

    assert ended.error is None
    assert AskGrams.kind not in kinds
    assert_predicts_as(ended, LegoMerge(blocks_of(ended), trunk=Slerp()))
