"""Merges that need more than the blocks: the common start, and Gram matrices from the sites."""

import pytest
import torch
from faults import Spoil, at_sites, raising, with_tensors
from rehearsal import Rehearsal, Run
from tiny_plans import (
    AND_A_DISTRICT,
    CLINIC,
    DISTRICT,
    LAB,
    OTHER_CLINIC,
    TEACHING,
    group,
    patients_of,
    tiny_plan,
)
from torch import Tensor

from lego_core import LegoMerge
from lego_core.assemble import build_block
from lego_core.errors import RunError
from lego_core.evaluation import score
from lego_core.gram import GramStatistics
from lego_core.merging import Dare, RegMean, Slerp, Ties
from lego_core.protocol import AskFuseUpdate, AskGrams, AskReport

REGMEAN = """
[merging]
apart = ["norms"]
[merging.heads]
kind = "regmean"
gamma = 0.7
[merging.trunk]
kind = "regmean"
"""


@pytest.fixture(scope="module")
def regmean(run: Run) -> Rehearsal:
    return run(tiny_plan(REGMEAN + AND_A_DISTRICT))


def start_of(ended: Rehearsal) -> dict[str, Tensor]:
    block = build_block(ended.plan, ended.bundle.agreement, "blood")
    return dict(block.trunk.state_dict())


def grams_over(ended: Rehearsal, sites: dict[str, list[int]]) -> dict[str, GramStatistics]:
    blocks = ended.merged.blocks
    sums = {
        name: [GramStatistics.of(blocks[name], ended.patients(number)) for number in numbers]
        for name, numbers in sites.items()
    }
    return {name: sum(several[1:], start=several[0]) for name, several in sums.items()}


def regmean_over(ended: Rehearsal, sites: dict[str, list[int]]) -> LegoMerge:
    """The merge that the plan asks for, with the matrices of the training patients of these sites."""
    grams = grams_over(ended, sites)
    return LegoMerge(ended.blocks, heads=RegMean(gamma=0.7), trunk=RegMean(), apart=["norms"], grams=grams)


# ---- RegMean of trunks and heads -------------------------------------------------------------------


def test_run_with_merged_trunks_ends_well(regmean: Rehearsal) -> None:
    assert regmean.error is None
    assert regmean.report.status == "complete"


def test_bundle_predicts_as_a_merge_with_the_matrices_of_all_training_patients(regmean: Rehearsal) -> None:
    expected = regmean_over(regmean, {"clinical": [CLINIC, OTHER_CLINIC], "blood": [LAB, DISTRICT]})

    regmean.assert_predicts_as(expected, number=TEACHING)


def test_that_merge_is_another_than_the_one_without_matrices(regmean: Rehearsal) -> None:
    batch = regmean.patients(TEACHING).batch()

    assert (regmean.bundle.model(batch) - LegoMerge(regmean.blocks)(batch)).abs().max() > 1e-5


def test_bundle_needs_the_shared_trunk_once(regmean: Rehearsal) -> None:
    merged = regmean.merged
    shared = sum(tensor.numel() for tensor in merged.shared.by_name().values())

    assert shared > 0
    assert merged.num_parameters == LegoMerge(regmean.blocks).num_parameters - shared


def test_sites_score_the_very_merge_that_is_handed_over(regmean: Rehearsal) -> None:
    bundle, test = regmean.bundle, regmean.patients(TEACHING).part("test")

    (row,) = regmean.scores(patients="complete", method="merge", modalities=("clinical", "blood"))

    assert row.sites == ("teaching",)
    assert row.value == pytest.approx(score(bundle.model, test, task=bundle.agreement.task).value)


def test_only_sites_that_trained_a_block_are_asked_for_its_matrices(regmean: Rehearsal) -> None:
    about = {(one.site, AskGrams.read(one.letter).modality) for one in regmean.asked(AskGrams)}

    assert regmean.error is None
    assert about == {(CLINIC, "clinical"), (OTHER_CLINIC, "clinical"), (LAB, "blood"), (DISTRICT, "blood")}


def test_site_with_one_modality_gets_the_shared_trunk_and_no_other_block(regmean: Rehearsal) -> None:
    (question,) = regmean.asked(AskReport, site=DISTRICT)
    received = question.letter.tensors
    shared = regmean.merged.shared.state_dict(prefix="merged.shared.")

    assert shared
    assert all(torch.equal(received[name], tensor) for name, tensor in shared.items())
    assert not [name for name in received if "clinical" in name]


# ---- the common start -----------------------------------------------------------------------------


def test_changes_are_counted_from_the_start_that_all_blocks_had(run: Run) -> None:
    ended = run(tiny_plan('[merging.trunk]\nkind = "ties"\ndensity = 0.5\n[merging.heads]\nkind = "dare"'))

    expected = LegoMerge(ended.blocks, trunk=Ties(density=0.5), heads=Dare(), start=start_of(ended))

    ended.assert_predicts_as(expected, number=TEACHING)


def test_after_a_seed_phase_changes_are_counted_from_its_end(run: Run) -> None:
    ended = run(tiny_plan('[rounds]\nrounds = 2\nseed-rounds = 1\n[merging.trunk]\nkind = "ties"'))
    seeded = {
        name.removeprefix("trunk."): tensor
        for name, tensor in ended.checkpoint(1, "blood").items()
        if name.startswith("trunk.")
    }

    expected = LegoMerge(ended.blocks, trunk=Ties(), start=seeded)

    ended.assert_predicts_as(expected, number=TEACHING)
    for name, tensor in expected.shared.by_name().items():
        torch.testing.assert_close(ended.merged.shared.by_name()[name], tensor)
    from_the_beginning = LegoMerge(ended.blocks, trunk=Ties(), start=start_of(ended)).shared.by_name()
    assert any(
        not torch.equal(tensor, from_the_beginning[name])
        for name, tensor in expected.shared.by_name().items()
    )


# ---- fuse ------------------------------------------------------------------------------------------


def test_fuse_rounds_begin_with_the_head_that_was_merged(run: Run) -> None:
    ended = run(tiny_plan(f"{REGMEAN}\n[fuse]\nrounds = 1"))

    received = ended.asked(AskFuseUpdate)[0].letter.tensors
    merged = ended.merged.merged_head(["clinical", "blood"])
    for name, tensor in merged.items():
        torch.testing.assert_close(received[f"head.{name}"], tensor)


# ---- sites that do not answer as they should ---------------------------------------------------------


SPOILT: dict[str, tuple[Spoil, str]] = {
    "it breaks": (raising, "Flower reports for the site"),
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
FAITHFUL_CLINIC, LAB_OF_FIVE, TEACHING_OF_FIVE = range(len(SPOILT), len(SPOILT) + 3)
FIVE_CLINICS = patients_of(
    group("clinic", "clinical", hospitals=5),
    group("lab", "blood"),
    group("teaching", "clinical", "blood", split=(0.2, 0.2, 0.6)),
    patients=300,
)


@pytest.fixture(scope="module")
def spoilt(run: Run) -> Rehearsal:
    """Every clinic but the last spoils its matrices in a way of its own."""
    ways = dict(enumerate(spoil for spoil, _ in SPOILT.values()))
    return run(tiny_plan(REGMEAN + FIVE_CLINICS), at_sites({AskGrams: ways}))


@pytest.mark.parametrize("name", SPOILT)
def test_site_without_usable_matrices_is_left_out_by_name(spoilt: Rehearsal, name: str) -> None:
    (absence,) = spoilt.left_out(f"clinic-{list(SPOILT).index(name) + 1}")

    assert (absence.phase, absence.modality) == ("merge", "clinical")
    assert SPOILT[name][1] in absence.reason


def test_merge_goes_on_with_the_matrices_of_the_others(spoilt: Rehearsal) -> None:
    expected = regmean_over(spoilt, {"clinical": [FAITHFUL_CLINIC], "blood": [LAB_OF_FIVE]})

    assert spoilt.report.status == "complete-with-absences"
    spoilt.assert_predicts_as(expected, number=TEACHING_OF_FIVE)


def test_site_of_few_patients_sends_no_matrices(run: Run) -> None:
    ended = run(tiny_plan(f"{REGMEAN}\n[evaluation]\nsmallest-count = 30\n[simulation.data]\npatients = 160"))

    reasons = {one.site: one.reason for one in ended.report.left_out if one.phase == "merge"}
    assert reasons
    for site, reason in reasons.items():
        assert f"Site '{site}' has" in reason
        assert "and sums over fewer than 30 would tell too much of each" in reason


def test_run_in_which_nobody_gives_matrices_of_a_block_says_so(run: Run) -> None:
    ended = run(tiny_plan(REGMEAN), at_sites({AskGrams: {LAB: raising}}))

    assert isinstance(ended.error, RunError)
    assert (
        "Gram matrices; 0 sites gave theirs of block 'blood' and the plan asks for 1" in ended.report.reason
    )
    assert ended.report.status == "failed"


def test_a_merge_that_needs_no_matrices_asks_for_none(run: Run) -> None:
    ended = run(tiny_plan('[merging.trunk]\nkind = "slerp"'))

    assert ended.error is None
    assert not ended.asked(AskGrams)
    ended.assert_predicts_as(LegoMerge(ended.blocks, trunk=Slerp()), number=TEACHING)
