"""Too few sites for a sum: what the plan says becomes of it, and nothing slips into a larger one."""

import pytest
import torch
from rehearsal import Rehearsal, Run
from tiny_plans import group, patients_of, tiny_plan

from lego_core.errors import RunError
from lego_core.plan import RunPlan
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.protocol import AskBlockUpdate, AskOutcomes, AskReport, AskStatistics
from lego_core.sum_letters import AskSumKeys

QUICK = "[participation]\nround-seconds = 5"
TWO_LABS = patients_of(
    group("clinic", "clinical", hospitals=3, split=(0.5, 0.1, 0.4)),
    group("lab", "blood", hospitals=2, split=(0.5, 0.1, 0.4)),
    patients=200,
)
SCAN = """
[modalities.scan.encoder]
kind = "tabular"
token-dim = 4
hidden-dims = [4]
[simulation.data.modalities.scan]
layout = "table"
features = 2
"""
TWO_OF_THREE_HAVE_SCANS = patients_of(
    group("imaging", "scan", split=(0.8, 0.2, 0.0)),
    group("rich", "clinical", "blood", "scan", hospitals=2, share=2.0, split=(0.4, 0.3, 0.3)),
    group("poor", "clinical", "blood", share=2.0, split=(0.4, 0.3, 0.3)),
    patients=320,
)


def with_two_labs(too_few: str) -> RunPlan:
    return tiny_plan(f'[privacy]\nkind = "secure-sum"\ntoo-few = "{too_few}"\n{QUICK}\n{TWO_LABS}')


def groups_summed(ended: Rehearsal) -> dict[str, tuple[str, ...]]:
    """The sums that were begun, and over whom."""
    sessions = [
        SessionDescriptor.read(packed)
        for one in ended.asked(AskSumKeys)
        for packed in AskSumKeys.read(one.letter).sessions
    ]
    return {one.group: one.participants for one in sessions}


# ---- a modality of two sites -----------------------------------------------------------------------


def test_a_plan_that_refuses_ends_before_any_site_is_asked_for_a_number(run: Run) -> None:
    ended = run(with_two_labs("refuse"))

    assert isinstance(ended.error, RunError)
    assert (
        "Modality 'blood' is trained by 2 sites, and a secure sum of this plan needs 3" in ended.report.reason
    )
    assert "privacy.too-few" in ended.report.reason
    for kind in (AskSumKeys, AskStatistics, AskOutcomes, AskBlockUpdate):
        assert not ended.asked(kind)


@pytest.fixture(scope="module")
def local(run: Run) -> Rehearsal:
    return run(with_two_labs("keep-local"))


def test_a_plan_that_keeps_it_local_goes_on_without_the_modality(local: Rehearsal) -> None:
    assert local.error is None
    assert local.report.status == "complete-with-absences"
    assert set(local.bundle.agreement.schemas) == {"clinical"}
    assert [block.modality for block in local.blocks] == ["clinical"]


def test_and_says_so_of_each_site(local: Rehearsal) -> None:
    for site in ("lab-1", "lab-2"):
        (left,) = local.left_out(site, phase="agree")
        assert left.modality == "blood"
        assert "so it stays at its sites. Nothing of it was asked." in left.reason


def test_its_sites_are_asked_for_nothing(local: Rehearsal) -> None:
    for site in (3, 4):
        assert {one.message.metadata.message_type for one in local.wire.asked if one.site == site} == {
            "query.offer"
        }
    assert all("lab" not in " ".join(sites) for sites in groups_summed(local).values())


# ---- a part of the fused model that two sites hold --------------------------------------------------


@pytest.fixture(scope="module")
def fused(run: Run) -> Rehearsal:
    plan = tiny_plan(
        '[privacy]\nkind = "secure-sum"\ntoo-few = "keep-local"\n[fuse]\nrounds = 1\n'
        f"[rounds]\nrounds = 1\npaired-sites-train-blocks = true\n{QUICK}\n{SCAN}\n{TWO_OF_THREE_HAVE_SCANS}"
    )
    return run(plan)


def test_a_part_that_two_sites_hold_enters_no_sum(fused: Rehearsal) -> None:
    summed = groups_summed(fused)

    assert fused.error is None
    assert summed["fused/head"] == summed["fused/clinical"] == ("poor", "rich-1", "rich-2")
    assert "fused/scan" not in summed
    assert summed["blocks/scan"] == ("imaging", "rich-1", "rich-2")


def test_it_stays_as_it_was_bit_by_bit_and_the_others_move(fused: Rehearsal) -> None:
    after = fused.checkpoint(1, "fused", phase="fuse")
    moved = {}
    for block in fused.blocks:
        own = {
            name: tensor
            for name, tensor in block.state_dict().items()
            if f"blocks.{block.modality}.{name}" in after
        }
        assert own
        moved[block.modality] = [
            name
            for name, tensor in own.items()
            if not torch.equal(after[f"blocks.{block.modality}.{name}"], tensor)
        ]

    assert moved["scan"] == []
    assert moved["clinical"]
    assert moved["blood"]


def test_scores_of_two_sites_are_withheld_and_counted(fused: Rehearsal) -> None:
    told = {(one.patients, one.modalities) for one in fused.results.scores}
    asked = [group for group in groups_summed(fused) if group.startswith("evaluate/")]

    assert ("holding", ("clinical", "blood")) in told
    assert not [modalities for _, modalities in told if "scan" in modalities]
    assert not [group for group in asked if "scan" in group]
    assert fused.results.withheld > 0
    assert fused.results.validation_withheld > 0
    assert not fused.results.validation


# ---- no sum of scores at all ---------------------------------------------------------------------------


def test_a_run_whose_scores_nobody_may_see_hands_its_model_over_all_the_same(run: Run) -> None:
    groups = patients_of(
        group("clinic", "clinical", hospitals=3),
        group("tested", "clinical", hospitals=2, split=(0.5, 0.1, 0.4)),
        patients=200,
    )
    plan = tiny_plan(f'[privacy]\nkind = "secure-sum"\n[rounds]\nrounds = 1\n{QUICK}\n{groups}').to_plain()
    del plan["modalities"]["blood"], plan["simulation"]["data"]["modalities"]["blood"]

    ended = run(RunPlan.model_validate(plan))

    assert ended.error is None
    assert not ended.results.scores
    assert ended.results.withheld == 2  # of those who hold the modality, and of those who hold all
    assert not ended.asked(AskReport)
    assert ended.blocks


# ---- fuse rounds over too few sites --------------------------------------------------------------------


def test_too_few_sites_to_fuse_end_the_run_before_any_block_is_trained(run: Run) -> None:
    groups = patients_of(
        group("clinic", "clinical", hospitals=3),
        group("lab", "blood", hospitals=3),
        group("teaching", "clinical", "blood", hospitals=2, split=(0.4, 0.2, 0.4)),
        patients=300,
    )

    ended = run(tiny_plan(f'[privacy]\nkind = "secure-sum"\n[fuse]\nrounds = 1\n{QUICK}\n{groups}'))

    assert "have 2 sites with paired patients" in ended.report.reason
    assert "(keys min-survivors and max-corrupt of [privacy])" in ended.report.reason
    assert not ended.asked(AskBlockUpdate)
