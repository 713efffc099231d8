"""Sites that are lost in the middle of a secure sum: what comes of it, and that nothing of them is seen."""

from dataclasses import dataclass, field

import pytest
import torch
from flwr.app import Message
from flwr.common.serde import context_from_proto, context_to_proto
from rehearsal import Rehearsal, Run
from sum_desk import Answer, Consortium, Desk, summing_clinics

from client.records import read_letter
from lego_core.chained_log import verify_log
from lego_core.errors import RunError
from lego_core.letters import AbstractMessage
from lego_core.privacy import SumTerms
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.protocol import AskBlockUpdate
from lego_core.sum_letters import (
    AskSumConfirmations,
    AskSumKeys,
    AskSumOpening,
    AskSumShares,
    MaskedVectors,
    SumConfirmations,
    SumOpening,
)

ROUND_ERROR = 2.0**-20 * SumTerms().clip_norm
STAGES = (AskSumKeys, AskSumShares, AskBlockUpdate, AskSumConfirmations, AskSumOpening)
BEFORE_VECTORS, AFTER_VECTORS = STAGES[:3], STAGES[3:]
OFTEN = (AskBlockUpdate, AskSumConfirmations)  # the other stages are for the slow tests, where a run is long
ALL_STAGES = [pytest.param(one, marks=[] if one in OFTEN else [pytest.mark.slow]) for one in STAGES]
LOST, LOST_NAME = 1, "clinic-2"


@dataclass
class Loss:
    """A site that is there until it is asked some kind of question in a sum of updates of some round.

    Args:
        stage: That kind.
        round_number: That round.
        comes_back: Whether it fails only once, and says so at once; it is silent for good otherwise.
    """

    stage: type[AbstractMessage]
    round_number: int = 1
    comes_back: bool = False
    _training: bool = field(default=False, init=False)
    _gone: bool = field(default=False, init=False)

    def __call__(self, site: int, message: Message, answer: Answer) -> Message | None:
        kind = message.metadata.message_type
        if kind == AskSumKeys.kind:
            self._training |= any(
                (one.group, one.round) == ("blocks/clinical", self.round_number) for one in begun(message)
            )
        if site == LOST and self._training and kind == self.stage.kind and not self._gone:
            self._gone = True
            if self.comes_back:
                raise ConnectionError("the line to the site broke")
        if site == LOST and self._gone and not self.comes_back:
            return None
        return answer()


def begun(message: Message) -> list[SessionDescriptor]:
    return [SessionDescriptor.read(one) for one in AskSumKeys.read(read_letter(message)).sessions]


# ---- five sites: the round goes on ---------------------------------------------------------------


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Consortium]:
    """The same five sites, with and without privacy."""
    return {
        kind: Consortium.of(summing_clinics(5, kind=kind), tmp_path_factory.mktemp(kind))
        for kind in ("secure-sum", "no-privacy")
    }


def absent(site: int, _message: Message, answer: Answer) -> Message | None:
    return None if site == LOST else answer()


@pytest.fixture(scope="module")
def expected(five: dict[str, Consortium]) -> dict[bool, dict[str, torch.Tensor]]:
    """The block after a round in the open, with and without the site that is lost."""
    faults = {True: None, False: absent}
    desks = {
        there: five["no-privacy"].desk(fault) if fault else five["no-privacy"].desk()
        for there, fault in faults.items()
    }
    return {there: desk.weights_after(desk.train()) for there, desk in desks.items()}


@pytest.mark.parametrize("stage", STAGES)
def test_of_five_sites_one_may_be_lost_at_any_stage(
    five: dict[str, Consortium], expected: dict[bool, dict[str, torch.Tensor]], stage: type[AbstractMessage]
) -> None:
    desk = five["secure-sum"].desk(Loss(stage))

    gathered = desk.train()

    is_in_the_sum = stage in AFTER_VECTORS
    assert (LOST_NAME in gathered.sites) == is_in_the_sum
    assert len(gathered.sites) == 4 + is_in_the_sum
    assert {one.site for one in desk.left_out} == {LOST_NAME}
    assert "did not answer within 0.5 seconds" in desk.reasons(LOST_NAME)
    assert_close(desk.weights_after(gathered), expected[is_in_the_sum])
    assert len(desk.sessions()) == 1
    assert_nobody_is_shown(desk)


def test_with_and_without_the_lost_site_are_different_rounds(
    expected: dict[bool, dict[str, torch.Tensor]],
) -> None:
    """So that the test above can tell who is in the sum."""
    largest = max(float((one - expected[False][name]).abs().max()) for name, one in expected[True].items())

    assert largest > 10 * ROUND_ERROR


def test_a_lost_site_is_not_asked_again_in_that_sum(five: dict[str, Consortium]) -> None:
    desk = five["secure-sum"].desk(Loss(AskSumShares))

    desk.train()

    assert not desk.asked(AskBlockUpdate, site=LOST)
    assert not desk.asked(AskSumConfirmations, site=LOST)


# ---- three sites: the sum stays closed -------------------------------------------------------------


@pytest.fixture(scope="module", params=ALL_STAGES, ids=lambda stage: stage.kind)
def ended(run: Run, request: pytest.FixtureRequest) -> tuple[type[AbstractMessage], Rehearsal]:
    """A run of three sites, one of which is lost in the second round for good."""
    return request.param, run(summing_clinics(3, "[rounds]\nrounds = 3"), Loss(request.param, round_number=2))


def test_of_three_sites_none_may_be_lost_before_the_vectors(
    ended: tuple[type[AbstractMessage], Rehearsal],
) -> None:
    """After them the round is saved, and the next one ends the run."""
    stage, told = ended
    finished = [one.round for one in told.report.rounds]

    assert finished == ([1, 2] if stage in AFTER_VECTORS else [1])
    assert all(len(one.answered) == 3 for one in told.report.rounds)
    assert isinstance(told.error, RunError)
    assert told.report.status == "failed"
    assert f"Round {len(finished) + 1}, 'clinical': 0 of 3 sites gave a usable answer" in told.report.reason
    assert f"The weights after round {len(finished)} are on the disk" in told.report.reason
    assert "The sum stays closed" in told.report.reason
    assert told.checkpoint(len(finished), "clinical")


def test_who_was_lost_is_told_with_the_reason(ended: tuple[type[AbstractMessage], Rehearsal]) -> None:
    _, told = ended
    reasons = [one.reason for one in told.left_out(LOST_NAME, round_number=2)]

    assert any("did not answer within 0.5 seconds" in reason for reason in reasons)
    assert {one.site for one in told.report.left_out if one.round == 2} == {LOST_NAME}


def test_what_stayed_closed_cannot_be_opened_from_all_that_was_said(
    ended: tuple[type[AbstractMessage], Rehearsal],
) -> None:
    _, told = ended

    assert_nobody_is_shown(told)


def test_every_ledger_of_a_run_that_broke_off_holds(
    ended: tuple[type[AbstractMessage], Rehearsal],
) -> None:
    _, told = ended
    for number in range(3):
        events, _ = verify_log(told.sites / f"site-{number}" / "ledger.jsonl")
        assert events


# ---- a site that comes back ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium.of(summing_clinics(3), tmp_path_factory.mktemp("three"))


@pytest.mark.parametrize("stage", BEFORE_VECTORS)
def test_a_sum_of_three_is_begun_anew_when_the_site_is_back(
    three: Consortium, stage: type[AbstractMessage]
) -> None:
    desk = three.desk(Loss(stage, comes_back=True))

    gathered = desk.train()

    attempts = [one.attempt for one in desk.sessions().values()]
    assert len(gathered.sites) == 3
    assert attempts == [1, 2]
    assert "the line to the site broke" in desk.reasons(LOST_NAME)
    assert_nobody_is_shown(desk)


@pytest.mark.parametrize("stage", AFTER_VECTORS)
def test_once_the_vectors_are_there_a_site_that_fails_once_costs_no_second_attempt(
    three: Consortium, stage: type[AbstractMessage]
) -> None:
    desk = three.desk(Loss(stage, comes_back=True))

    gathered = desk.train()

    assert len(gathered.sites) == 3
    assert [one.attempt for one in desk.sessions().values()] == [1]


def test_a_sum_is_begun_twice_and_no_more(three: Consortium) -> None:
    desk = three.desk(Loss(AskSumShares))

    gathered = desk.train()

    assert not gathered.sites
    assert "The sum stays closed" in gathered.closed
    assert [one.attempt for one in desk.sessions().values()] == [1, 2]


def test_what_too_few_confirm_is_not_begun_anew(three: Consortium) -> None:
    """A second sum of the same vectors, over other sites, would show one by subtraction."""

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if site > 0 and message.metadata.message_type == AskSumConfirmations.kind:
            raise ConnectionError("the line to the site broke")
        return answer()

    desk = three.desk(fault)

    gathered = desk.train()

    assert not gathered.sites
    assert "1 of 3 sites confirmed the survivors, and 2 must" in gathered.closed
    assert [one.attempt for one in desk.sessions().values()] == [1]
    assert not desk.asked(AskSumOpening)


def test_who_did_not_hand_out_shares_is_asked_again_for_the_same(three: Consortium) -> None:
    failed: list[int] = []

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if message.metadata.message_type == AskSumOpening.kind and len(failed) < 2:
            failed.append(site)
            raise ConnectionError("the line to the site broke")
        return answer()

    desk = three.desk(fault)

    gathered = desk.train()

    assert len(gathered.sites) == 3
    assert len(desk.asked(AskSumOpening)) > 3


# ---- a process that begins anew ------------------------------------------------------------------


def test_a_site_goes_on_in_another_process_at_every_question(three: Consortium) -> None:
    """As Flower keeps its state: written to bytes, and read by the next process."""
    desk: Desk

    def fault(site: int, _message: Message, answer: Answer) -> Message | None:
        written = context_to_proto(desk.grid.contexts[site]).SerializeToString()
        desk.grid.contexts[site] = context_from_proto(
            type(context_to_proto(desk.grid.contexts[site])).FromString(written)
        )
        return answer()

    desk = three.desk(fault)

    assert len(desk.train().sites) == 3


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_site_that_lost_its_state_is_absent_and_the_others_go_on(
    five: dict[str, Consortium], stage: type[AbstractMessage]
) -> None:
    desk: Desk

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if site == LOST and message.metadata.message_type == stage.kind:
            desk.grid.contexts[site].state.clear()
        return answer()

    desk = five["secure-sum"].desk(fault)

    gathered = desk.train()

    assert len(gathered.sites) == 4 + (stage in AFTER_VECTORS)
    assert "knows nothing of a session that it is asked about" in desk.reasons(LOST_NAME)
    assert_nobody_is_shown(desk)


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_a_state_that_was_put_back_answers_nothing_a_second_time(
    three: Consortium, stage: type[AbstractMessage]
) -> None:
    """The site's machine is restored from a copy of before the question: another answer would show it."""
    desk: Desk

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if site != LOST or message.metadata.message_type != stage.kind:
            return answer()
        before = context_to_proto(desk.grid.contexts[site])
        first = answer()
        desk.grid.contexts[site] = context_from_proto(before)
        again = desk.grid.deliver(site, message)
        texts.append(read_letter(again).body)
        return first

    texts: list[str] = []
    desk = three.desk(fault)

    desk.train()

    assert texts
    assert all("has answered" in text and "before and does not know any more what" in text for text in texts)


# ---- a server that is killed -----------------------------------------------------------------------


class KilledError(BaseException):
    """The server's process ends, wherever it is."""


@pytest.mark.parametrize("stage", ALL_STAGES)
def test_after_a_server_was_killed_another_run_goes_well(
    three: Consortium, stage: type[AbstractMessage]
) -> None:
    """Sites mind one set of survivors for the same weights in one run, and another run is another."""

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if site == 2 and message.metadata.message_type == stage.kind:
            answer()
            raise KilledError
        return answer()

    killed = three.desk(fault)
    with pytest.raises(KilledError):
        killed.train()

    assert len(three.desk().train().sites) == 3
    for number in range(3):
        events, _ = verify_log(three.site(number) / "ledger.jsonl")
        about = [
            (one["run"], one["group"], one["round"]) for one in events if one["event"] == "sum-confirmed"
        ]
        assert len(about) == len(set(about))


# ---- what the tests above have in common -------------------------------------------------------------


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=ROUND_ERROR, msg=name)


def assert_nobody_is_shown(told: Desk | Rehearsal) -> None:
    """Of no site are there a vector and a threshold of shares of its masking key; no seed for who is lost."""
    sessions = {one.sid.hex(): one for asked in told.asked(AskSumKeys) for one in begun(asked.message)}
    vectors = {
        (sid, sender.site)
        for sender in told.answered(MaskedVectors)
        for sid in MaskedVectors.read(sender.letter).signatures
    }
    confirmed = {
        sid: sets
        for one in told.asked(AskSumConfirmations)
        for sid, sets in AskSumConfirmations.read(one.letter).sets.items()
    }
    signed = {
        sid for one in told.answered(SumConfirmations) for sid in SumConfirmations.read(one.letter).signatures
    }
    handed = [SumOpening.read(one.letter).shares for one in told.answered(SumOpening)]
    assert sessions
    for sid, described in sessions.items():
        shared = [one[sid] for one in handed if sid in one]
        if sid not in signed:
            assert not shared
            continue
        survivors = set(confirmed[sid].survivors)
        for site in range(len(described.participants)):
            if (sid, site) in vectors:  # names of clinics are sorted, so a site's place is its number
                assert site + 1 in survivors or sum(site + 1 in one for one in shared) < described.threshold
            else:
                assert site + 1 not in survivors
