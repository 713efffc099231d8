"""What sites add up unseen is what they would have told in the open, and the wire carries none of it."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import numpy as np
import pytest
import torch
from rehearsal import Rehearsal, Run
from tiny_plans import clinics_only, group, patients_of, tiny_plan, with_survival
from torch import Tensor

from client.ledger import CONFIRMED
from client.site import read_site_file
from client.sums import PINNED
from lego_core.chained_log import verify_log
from lego_core.errors import LogError
from lego_core.evaluation import EvaluationReport, PooledScore, evaluate, pool
from lego_core.exchangeable import AGREED
from lego_core.letters import AbstractMessage
from lego_core.plan import RunPlan
from lego_core.privacy import SumTerms
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.protocol import Grams, Offer, Outcomes, Progress, SiteReport, Statistics, Update
from lego_core.sum_letters import (
    AskSumKeys,
    MaskedVectors,
    SumConfirmations,
    SumKeys,
    SumOpening,
    SumShares,
)

Both = dict[str, Rehearsal]
OPEN, SUMMED = "no-privacy", "secure-sum"
IN_THE_OPEN: tuple[type[AbstractMessage], ...] = (Statistics, Outcomes, Update, Progress, Grams, SiteReport)
ROUND_ERROR = 2.0**-20 * SumTerms().clip_norm  # of a weight, in one round
LATER_ERROR = 8 * ROUND_ERROR  # of the optimizer's steps, from weights that differ by so much
WITH_EVERYTHING = """
[rounds]
seed-rounds = 1
paired-sites-train-blocks = true
[merging.heads]
kind = "regmean"
[merging.trunk]
kind = "regmean"
"""
ONCE = """
[rounds]
mode = "one-shot"
[training]
epochs = 2
"""
ADAPTIVE = """
[aggregation]
kind = "fedadam"
[training]
keep = "best"
"""


def five_clinics(kind: str, changes: str) -> RunPlan:
    """Hospitals of one modality, two of them large."""
    unequal = "".join(
        group(name, "clinical", hospitals=many, share=share, split=(0.5, 0.2, 0.3))
        for name, many, share in (("small", 3, 1.0), ("large", 2, 2.5))
    )
    plan = clinics_only(f'[privacy]\nkind = "{kind}"\n{changes}\n{unequal}', hospitals=5, patients=480)
    assert plan.simulation is not None
    assert len(plan.simulation.groups) == 2
    return plan


def two_modalities(kind: str) -> RunPlan:
    """Hospitals of one modality and of both; those with both take part in all the sums."""
    groups = patients_of(
        group("clinic", "clinical"),
        group("lab", "blood", share=2.0),
        group("teaching", "clinical", "blood", hospitals=3, share=1.5, split=(0.4, 0.3, 0.3)),
        patients=300,
    )
    plan = tiny_plan(f'[privacy]\nkind = "{kind}"\n[fuse]\nrounds = 1\n{WITH_EVERYTHING}\n{groups}')
    return with_survival(plan, num_bins=3)


def plans(way: str) -> Callable[[str], RunPlan]:
    return {
        "everything": two_modalities,
        "once": lambda kind: five_clinics(kind, ONCE),
        "adaptive": lambda kind: five_clinics(kind, ADAPTIVE),
    }[way]


@pytest.fixture(
    scope="module", params=["everything", "once", pytest.param("adaptive", marks=pytest.mark.slow)]
)
def both(run: Run, request: pytest.FixtureRequest) -> Both:
    """The same hospitals, once in the open and once unseen."""
    plan = plans(request.param)
    return {kind: run(plan(kind)) for kind in (OPEN, SUMMED)}


@pytest.fixture(scope="module")
def summed(both: Both) -> Rehearsal:
    return both[SUMMED]


# ---- the same model ----------------------------------------------------------------------------


def test_both_end_well_with_all_sites(both: Both) -> None:
    for ended in both.values():
        assert ended.error is None
        assert ended.report.status == "complete"
        assert not ended.report.left_out


def test_weights_after_every_round_are_those_of_the_open_run(both: Both) -> None:
    """In the first round to the error of a sum; later ones also start from weights a hair apart."""
    compared = 0
    for one in both[OPEN].report.rounds:
        seen, unseen = (ended.checkpoint(one.round, one.modality, phase=one.phase) for ended in both.values())
        is_first = (one.phase, one.round) == ("blocks", 1)
        assert_close(seen, unseen, atol=ROUND_ERROR if is_first else LATER_ERROR)
        compared += len(seen)

    assert compared > 20


def test_what_is_handed_over_is_what_the_open_run_hands_over(both: Both) -> None:
    seen, unseen = (ended.bundle.models.state_dict() for ended in both.values())

    assert_close(seen, unseen, atol=LATER_ERROR)


def test_normalisation_is_the_same_to_the_last_bits(both: Both) -> None:
    seen, unseen = (
        {f"{block.modality}.{name}": block.state_dict()[name] for block in ended.blocks for name in AGREED}
        for ended in both.values()
    )

    assert_close(seen, unseen, atol=1e-6)


def test_time_bins_and_base_rates_are_the_same(both: Both) -> None:
    seen, unseen = (ended.bundle.agreement for ended in both.values())

    assert seen == unseen


def test_losses_are_those_of_all_sites_together(both: Both) -> None:
    seen, unseen = (
        {(one.phase, one.round, one.modality): one for one in ended.report.rounds} for ended in both.values()
    )

    assert seen.keys() == unseen.keys()
    for key, one in seen.items():
        assert one.answered == unseen[key].answered
        assert one.validation_loss == pytest.approx(unseen[key].validation_loss, abs=1e-4)


def test_the_same_rounds_are_kept(both: Both) -> None:
    assert both[OPEN].report.kept_rounds == both[SUMMED].report.kept_rounds


def test_scores_are_of_the_same_patients_and_pairs(both: Both) -> None:
    assert both[SUMMED].results.scores
    for part in ("scores", "validation"):
        seen, unseen = (by_model(getattr(ended.results, part)) for ended in both.values())

        assert seen.keys() == unseen.keys()
        for key, one in seen.items():
            assert (one.count, one.sites) == (unseen[key].count, unseen[key].sites)
            assert one.pairs == pytest.approx(unseen[key].pairs, abs=1e-6)


def test_scores_are_those_that_the_sites_would_tell_of_this_model(summed: Rehearsal) -> None:
    """Of the very weights: between the two runs they differ in last bits, which can turn a pair round."""
    expected, told = scored_in_the_open(summed), summed.results

    assert told.scores
    for part in ("scores", "validation"):
        seen, unseen = by_model(getattr(expected, part)), by_model(getattr(told, part))
        assert seen.keys() == unseen.keys()
        for key, one in seen.items():
            other = unseen[key]
            assert one.count == other.count
            for number in ("value", "low", "high", "pairs", "gain", "gain_low", "gain_high"):
                assert getattr(other, number) == pytest.approx(getattr(one, number), abs=1e-6), (key, number)


def scored_in_the_open(ended: Rehearsal) -> EvaluationReport:
    """The model that was handed over, as every site scores it, pooled."""
    bundle, reports = ended.bundle, {}
    schemas = bundle.agreement.schemas
    for number in range(len(ended.wire.contexts)):
        cohort = ended.patients(number)
        site = read_site_file(ended.sites / f"site-{number}" / "site.toml").name
        held = [name for name in schemas if name in cohort.schemas]
        if set(held) != set(schemas):
            continue  # the plans here leave such sites no test patients
        scored = evaluate(
            bundle.models,
            cohort.only(*held),
            task=bundle.agreement.task,
            all_modalities=tuple(schemas),
            site=site,
            seed=ended.plan.seed,
            bootstrap=ended.plan.evaluation.bootstrap,
            smallest_count=ended.plan.evaluation.smallest_count,
        )
        reports[(site,)] = scored
    return pool(reports, metric=bundle.agreement.task.metric, best_block=ended.results.best_block)


def by_model(scores: tuple[PooledScore, ...]) -> dict[tuple[str, ...], PooledScore]:
    return {(one.patients, one.method, *one.modalities): one for one in scores}


def assert_close(one: dict[str, Tensor], other: dict[str, Tensor], *, atol: float) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=atol, msg=name)


# ---- what the wire carries ---------------------------------------------------------------------


def test_only_sums_leave_a_site(summed: Rehearsal) -> None:
    kinds = {one.letter.kind for one in summed.wire.answered}

    assert kinds == {
        one.kind for one in (Offer, SumKeys, SumShares, MaskedVectors, SumConfirmations, SumOpening)
    }
    assert not [one for kind in IN_THE_OPEN for one in summed.answered(kind)]


def test_in_the_open_the_same_questions_bring_numbers(both: Both) -> None:
    for kind in {Statistics, Outcomes, Update, Progress, SiteReport}:
        assert both[OPEN].answered(kind)


def test_no_answer_holds_a_number_of_its_site(both: Both) -> None:
    """Whatever the site would have told in the open, no run of its bytes is in what it sends unseen."""
    seen, unseen = both[OPEN], both[SUMMED]
    searched = 0
    for number in range(len(seen.wire.contexts)):
        sent = b"".join(one.in_bytes for one in unseen.wire.answered if one.site == number)
        for one in seen.wire.answered:
            if one.site != number or one.letter.kind == Offer.kind:
                continue
            assert all(words in one.in_bytes for words in telling(one.letter.tensors))  # so it can be found
            for words in telling(one.letter.tensors):
                assert words not in sent
                searched += 1

    assert searched > 50


def telling(tensors: Mapping[str, Tensor]) -> Iterator[bytes]:
    """Eight bytes of every tensor, where they are not nothing."""
    for tensor in tensors.values():
        words = tensor.contiguous().numpy().tobytes()
        for start in range(0, len(words) - 7, 8):
            piece = words[start : start + 8]
            if len(set(piece)) > 5:
                yield piece
                break


def test_masked_words_look_tossed(summed: Rehearsal) -> None:
    """All masked bytes of a run: as many of each value as of any other."""
    words = b"".join(
        tensor.numpy().tobytes()
        for one in summed.answered(MaskedVectors)
        for tensor in one.letter.tensors.values()
    )
    counts = np.bincount(np.frombuffer(words, dtype=np.uint8), minlength=256)
    expected = len(words) / 256

    assert len(words) > 10_000
    assert ((counts - expected) ** 2 / expected).sum() < 390  # 255 degrees of freedom: p = 1e-7


def test_every_session_is_about_three_sites_at_least_and_says_so(summed: Rehearsal) -> None:
    sessions = {
        packed: SessionDescriptor.read(packed)
        for one in summed.asked(AskSumKeys)
        for packed in AskSumKeys.read(one.letter).sessions
    }

    assert len(sessions) >= 5
    for one in sessions.values():
        assert len(one.participants) >= 3
        assert one.min_survivors >= 3
        assert 2 * one.threshold > len(one.participants) + one.max_corrupt
    assert len({one.nonce for one in sessions.values()}) == len(sessions)


def test_a_site_is_in_one_sum_of_the_same_parts_and_weights(summed: Rehearsal) -> None:
    sessions = {
        packed: SessionDescriptor.read(packed)
        for one in summed.asked(AskSumKeys)
        for packed in AskSumKeys.read(one.letter).sessions
    }
    about = [(site, one.group, one.model_sha256) for one in sessions.values() for site in one.participants]

    assert len(about) == len(set(about))


def test_no_two_sums_of_a_run_are_of_the_same_numbers(summed: Rehearsal) -> None:
    """Opened over other sites, the two would show one of them by subtraction."""
    hashes = [event["sha256"] for event in summed.events if event["event"] == "sum-opened"]

    assert len(hashes) > 4
    assert len(set(hashes)) == len(hashes)


# ---- what stays on the disk --------------------------------------------------------------------


def test_every_ledger_holds_and_tells_of_every_sum_once(summed: Rehearsal) -> None:
    for number in range(len(summed.wire.contexts)):
        path = summed.sites / f"site-{number}" / "ledger.jsonl"
        events, _ = verify_log(path)
        confirmed = [one for one in events if one["event"] == CONFIRMED]
        opened = summed.answered(SumOpening, site=number)

        assert len({one["session"] for one in confirmed}) == len(confirmed)
        assert {one["session"] for one in confirmed} == {
            sid for one in opened for sid in SumOpening.read(one.letter).shares
        }


def test_a_changed_byte_of_a_ledger_is_found(summed: Rehearsal, tmp_path) -> None:
    copy = tmp_path / "ledger.jsonl"
    copy.write_bytes((summed.sites / "site-0" / "ledger.jsonl").read_bytes().replace(b"keys", b"kets", 1))

    with pytest.raises(LogError, match="was changed: line"):
        verify_log(copy)


def test_no_secret_of_a_session_stays_in_the_state_of_a_site(summed: Rehearsal) -> None:
    for context in summed.wire.contexts:
        for name, record in context.state.config_records.items():
            if name == PINNED:
                continue
            kept = json.loads(cast(bytes, record["session"]))
            assert (kept["drawn"], kept["held"], record["residues"]) == (None, {}, b"")
