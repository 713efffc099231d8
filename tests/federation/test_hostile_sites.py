"""Broken and hostile sites, and what bounds their harm."""

import pytest
import torch
from faults import at_sites, with_tensors, worse_every_round
from rehearsal import Rehearsal, Run
from summing_plans import summing_plan
from tiny_plans import clinics_only

from lego_core.assemble import build_block
from lego_core.exchangeable import exchanged
from lego_core.protocol import AskBlockUpdate, Update
from lego_core.update import BlockUpdate, to_vector

HOSTILE = 4


def louder(times: float):
    return with_tensors(lambda tensors: {name: tensor * times for name, tensor in tensors.items()})


def moved(ended: Rehearsal, number: int = 1) -> torch.Tensor:
    start = exchanged(build_block(ended.plan, ended.bundle.agreement, "clinical"))
    after = ended.checkpoint(number, "clinical")
    return torch.cat([(after[name] - tensor).flatten() for name, tensor in start.items()])


def test_site_shortens_its_update_to_the_bound(run: Run) -> None:
    ended = run(clinics_only("[rounds]\nrounds = 1\n[guard]\nnorm-bound = 0.01", hospitals=3))

    for sent in ended.answered(Update):
        norm = torch.cat([tensor.flatten() for tensor in sent.letter.tensors.values()]).norm()
        assert float(norm) == pytest.approx(0.01, rel=1e-4)


def test_update_beyond_the_bound_is_put_away_by_the_name_of_its_site(run: Run) -> None:
    plan = clinics_only("[rounds]\nrounds = 1\n[guard]\nnorm-bound = 0.5", hospitals=5)

    ended = run(plan, at_sites({AskBlockUpdate: {HOSTILE: louder(1000.0)}}))

    (left,) = ended.left_out("clinic-5")
    assert "Site 'clinic-5', part 'clinical': its update has norm" in left.reason
    assert "this run bounds it by 0.5" in left.reason
    assert "clinic-5" not in ended.report.rounds[0].answered
    assert float(moved(ended).norm()) <= 0.5


@pytest.mark.parametrize("kind", ["median", "trimmed-mean"])
def test_a_hostile_site_moves_a_robust_mean_no_further_than_honest_ones(run: Run, kind: str) -> None:
    plan = clinics_only(f'[rounds]\nrounds = 1\n[aggregation]\nkind = "{kind}"', hospitals=5)

    ended = run(plan, at_sites({AskBlockUpdate: {HOSTILE: louder(-1e6)}}))

    assert float(moved(ended).abs().max()) < 1.0


def test_rounds_that_do_worse_than_the_plan_bears_are_taken_back(run: Run) -> None:
    plan = clinics_only(
        '[rounds]\nrounds = 3\n[training]\nkeep = "last"\n[guard]\nworst-rise = 0.1', hospitals=3
    )

    ended = run(plan, worse_every_round)

    back = [event for event in ended.events if event["event"] == "taken-back"]
    assert [event["round"] for event in back][:2] == [2, 3]
    assert back[0]["loss"] == pytest.approx(2 * back[0]["best_loss"])
    first, second = moved(ended, 2), moved(ended, 3)
    assert float(second.norm()) < float(first.norm())
    assert float(first.norm()) > 0


def test_run_ends_with_its_best_weights_if_the_last_are_worse_than_it_bears(run: Run) -> None:
    plan = clinics_only(
        '[rounds]\nrounds = 2\n[training]\nkeep = "last"\n[guard]\nworst-rise = 0.1', hospitals=3
    )

    ended = run(plan, worse_every_round)

    start = build_block(plan, ended.bundle.agreement, "clinical").state_dict()
    torch.testing.assert_close(ended.blocks[0].state_dict()["trunk.latent"], start["trunk.latent"])


def test_without_the_bound_no_round_is_taken_back(run: Run) -> None:
    plan = clinics_only('[rounds]\nrounds = 2\n[training]\nkeep = "last"', hospitals=3)

    ended = run(plan, worse_every_round)

    assert not [event for event in ended.events if event["event"] == "taken-back"]


# ---- where updates are summed ---------------------------------------------------------------


BUCKETS = "[aggregation]\nkind = 'median'\n[rounds]\nrounds = 1\n[participation]\nround-seconds = 60"


@pytest.fixture(scope="module")
def in_buckets(run: Run) -> Rehearsal:
    plan = clinics_only(f"[privacy]\nkind = 'secure-sum'\nbuckets = 3\n{BUCKETS}", hospitals=9, patients=270)
    return run(plan)


def test_a_median_of_buckets_trains(in_buckets: Rehearsal) -> None:
    assert in_buckets.error is None
    assert in_buckets.report.status == "complete"
    assert len(in_buckets.report.rounds[0].answered) == 9
    assert float(moved(in_buckets).norm()) > 0


def test_every_bucket_is_of_three_sites_and_every_site_is_in_one(in_buckets: Rehearsal) -> None:
    entered: dict[str, set[int]] = {}
    for sent in in_buckets.asked(AskBlockUpdate):
        question = AskBlockUpdate.read(sent.letter)
        if not question.score_only:
            invitation = question.sums["blocks/clinical"]
            entered.setdefault(invitation.session, set()).add(sent.site)

    assert sorted(len(sites) for sites in entered.values()) == [3, 3, 3]
    assert set.union(*entered.values()) == set(range(9))


def test_buckets_stay_as_they_were_drawn(run: Run) -> None:
    plan = clinics_only(
        "[privacy]\nkind = 'secure-sum'\nbuckets = 2\n[rounds]\nrounds = 3", hospitals=6, patients=180
    )

    ended = run(plan)

    together: dict[int, set[frozenset[int]]] = {}
    for number in (1, 2, 3):
        sessions: dict[str, set[int]] = {}
        for sent in ended.asked(AskBlockUpdate):
            question = AskBlockUpdate.read(sent.letter)
            if question.round == number and not question.score_only:
                invitation = question.sums["blocks/clinical"]
                sessions.setdefault(invitation.session, set()).add(sent.site)
        together[number] = {frozenset(sites) for sites in sessions.values()}
    assert [len(sites) for sites in together[1]] == [3, 3]
    assert together[1] == together[2] == together[3]


def test_a_median_of_too_few_buckets_is_told(run: Run) -> None:
    plan = summing_plan(
        changes="[rounds]\nrounds = 2\nseed-rounds = 1\npaired-sites-train-blocks = true\n"
        "[aggregation]\nkind = 'median'",
        privacy="buckets = 3\ntoo-few = 'keep-local'",
    )

    ended = run(plan)

    assert ended.error is not None  # two buckets of three sites have no median that guards
    assert "The median of 2 updates guards against nobody" in ended.report.reason


def test_a_sum_that_is_longer_than_every_site_may_be_is_put_away(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far_too_long(update: dict[str, torch.Tensor], *, weight: float, bound: float):
        return BlockUpdate(torch.full_like(to_vector(update), bound) * weight, weight), False

    monkeypatch.setattr("client.local_training.shortened", far_too_long)
    plan = clinics_only("[privacy]\nkind = 'secure-sum'\nclip-norm = 1.5", hospitals=3, patients=120)

    ended = run(plan)

    assert ended.error is not None
    assert "the mean of the sum 'blocks/clinical' has norm" in ended.report.reason
    assert "this run bounds it by 1.5" in ended.report.reason
