"""A server that asks twice, too early, or with what belongs to another session: nothing new is told."""

import json

import pytest
import torch
from flwr.app import Message
from sum_desk import (
    Answer,
    Consortium,
    Desk,
    another,
    lying,
    put,
    shifted,
    summing_clinics,
    with_bundles,
    with_confirmations,
    with_sets,
)
from torch import Tensor

from client.records import read_letter
from lego_core.letters import AbstractMessage, Letter
from lego_core.protocol import AskBlockUpdate, Refusal
from lego_core.sum_letters import (
    AskSumConfirmations,
    AskSumKeys,
    AskSumOpening,
    AskSumShares,
    SumKeys,
    SumOpening,
)
from server.learner import Learner
from simulations.in_process import Fault

VICTIM, VICTIM_NAME = 1, "clinic-2"


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium.of(summing_clinics(4), tmp_path_factory.mktemp("four"))


@pytest.fixture(scope="module")
def opened(four: Consortium) -> Desk:
    """A round that went well."""
    desk = four.desk()
    assert len(desk.train().sites) == 4
    return desk


@pytest.fixture
def fresh(four: Consortium) -> Desk:
    desk = four.desk()
    assert len(desk.train().sites) == 4
    return desk


@pytest.mark.parametrize("order", [1, -1])
def test_every_message_that_comes_again_gets_the_same_bytes_or_a_refusal(fresh: Desk, order: int) -> None:
    same, refused = 0, 0
    came = list(zip(fresh.grid.asked, fresh.grid.answered, strict=True))
    for asked, before in came[::order]:
        answer = fresh.answer(asked.site, asked.message)
        if answer.kind == Refusal.kind or json.loads(answer.body)["declined"]:
            refused += 1
            assert not answer.tensors
        else:
            same += 1
            assert answer.body == before.letter.body

    assert refused
    assert bool(same) == (order == -1)  # a session that is begun a second time is over


def test_messages_of_another_run_mean_nothing_to_a_site(four: Consortium, opened: Desk) -> None:
    other = four.desk()
    for asked in opened.grid.asked:
        if asked.is_a(AskSumKeys):
            continue
        answer = other.answer(asked.site, asked.message)

        assert "knows nothing of a session that it is asked about" in answer.body
        assert not answer.tensors


def test_a_session_of_another_run_is_not_begun_again(four: Consortium, opened: Desk) -> None:
    """A site that has forgotten it all the same knows it from its ledger."""
    other = four.desk()
    for asked in opened.asked(AskSumKeys):
        answer = SumKeys.read(other.answer(asked.site, asked.message))

        assert not answer.bundles
        assert all("has answered 'keys' of this session before" in one for one in answer.declined.values())


def test_keys_of_another_session_are_not_taken_for_those_of_this_one(four: Consortium) -> None:
    earlier = four.desk()
    earlier.train()
    (shown,) = AskSumShares.read(earlier.asked(AskSumShares, site=VICTIM)[0].letter).bundles.values()
    desk = four.desk(
        lying(AskSumShares, with_bundles(lambda own: {**own, 1: shown[1], 3: shown[3]}), to=VICTIM)
    )

    desk.train()

    assert "did not sign the keys shown in its name" in desk.reasons(VICTIM_NAME)


def test_confirmations_of_another_session_open_nothing(four: Consortium) -> None:
    earlier = four.desk()
    earlier.train()
    (signed,) = AskSumOpening.read(earlier.asked(AskSumOpening, site=VICTIM)[0].letter).confirmations.values()
    desk = four.desk(lying(AskSumOpening, with_confirmations(lambda _: dict(signed)), to=VICTIM))

    desk.train()

    assert "0 survivors signed these sets" in desk.reasons(VICTIM_NAME)
    assert not desk.sent(site=VICTIM)["shares"]


def test_survivors_are_confirmed_once(four: Consortium) -> None:
    """The victim has signed for all four; it does not sign for three of them as well."""
    texts: list[str] = []

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if site != VICTIM or message.metadata.message_type != AskSumConfirmations.kind:
            return answer()
        first = answer()
        question = AskSumConfirmations.read(read_letter(message))
        put(message, with_sets(survivors=(1, 2, 3))(question).letter())
        texts.append(read_letter(desk.grid.deliver(site, message)).body)
        return first

    desk = four.desk(fault)

    desk.train()

    assert "asked twice for 'confirm', and for different things" in texts[0]
    assert json.loads(texts[0])["signatures"] == {}
    assert not desk.sent(site=VICTIM)["shares"]  # nor does it open anything after such a question


def test_a_sum_is_opened_in_one_way_only(opened: Desk) -> None:
    asked = opened.asked(AskSumOpening, site=0)[0]
    question = AskSumOpening.read(asked.letter)
    fewer = with_confirmations(lambda own: {place: own[place] for place in list(own)[:3]})(question)

    answer = SumOpening.read(opened.answer(0, another(asked, fewer.letter())))

    assert not answer.shares
    assert "asked twice for 'unmask', and for different things" in "".join(answer.declined.values())


def test_no_second_sum_of_the_same_weights_is_confirmed_in_a_run(four: Consortium) -> None:
    """The same round again, with fresh keys and without one site."""
    first = four.desk()
    first.train()
    first.learner.members = [one for one in first.learner.members if one.site != "clinic-4"]

    gathered = first.train()

    assert not gathered.sites
    assert "show one site by subtraction" in first.reasons(VICTIM_NAME)


def test_nor_is_it_where_the_server_names_weights_that_nobody_gets(four: Consortium) -> None:
    """More names among the weights make another model in name only: what is trained on is the same."""
    desk = four.desk()
    desk.train()
    honest = desk.learner
    honest.members = [one for one in honest.members if one.site != "clinic-4"]
    desk.learner = NamingMoreWeights(honest)  # type: ignore[assignment]

    gathered = desk.train(number=2)

    assert not gathered.sites
    assert "show one site by subtraction" in desk.reasons(VICTIM_NAME)


class NamingMoreWeights:
    """A learner that says of its weights that there are more."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    def __getattr__(self, name: str) -> object:
        return getattr(self._learner, name)

    def state(self) -> dict[str, Tensor]:
        return {**self._learner.state(), "of-nobody": torch.ones(1)}


def test_nor_is_it_where_weights_were_changed_by_a_hair(four: Consortium) -> None:
    """Another model, but in the same round: the two sums would show one site but for a hair."""
    desk = four.desk()
    desk.train()
    desk.learner.members = [one for one in desk.learner.members if one.site != "clinic-4"]
    desk.learner.model.load_state_dict(shifted(desk.learner.state()))

    gathered = desk.train()

    assert not gathered.sites
    assert "show one site by subtraction" in desk.reasons(VICTIM_NAME)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (AskSumKeys, AskBlockUpdate),
        (AskSumKeys, AskSumConfirmations),
        (AskSumKeys, AskSumOpening),
        (AskSumShares, AskSumConfirmations),
        (AskSumShares, AskSumOpening),
        (AskBlockUpdate, AskSumOpening),
    ],
)
def test_a_question_that_comes_too_early_ends_the_session(
    four: Consortium, opened: Desk, first: type[AbstractMessage], then: type[AbstractMessage]
) -> None:
    """After one stage comes a question of a later one, as it was asked in another run."""
    desk = four.desk(stop_after(first))
    desk.train()
    (sid,), (own, *_) = opened.sessions(), desk.sessions()
    asked = opened.asked(then, site=VICTIM)[0]
    letter = asked.letter

    answer = desk.answer(
        VICTIM, another(asked, Letter(letter.kind, letter.body.replace(sid, own), letter.tensors))
    )

    assert not answer.tensors
    assert f"'{STAGE_NAMES[then]}' was asked out of order" in answer.body


STAGE_NAMES = {AskBlockUpdate: "masked", AskSumConfirmations: "confirm", AskSumOpening: "unmask"}


def stop_after(kind: type[AbstractMessage]) -> Fault:
    """No site hears anything of the server after this kind of question."""
    kinds = [one.kind for one in (AskSumKeys, AskSumShares, AskBlockUpdate, AskSumConfirmations)]
    heard = kinds[: kinds.index(kind.kind) + 1]

    def fault(_site: int, message: Message, answer: Answer) -> Message | None:
        if message.metadata.message_type not in heard:
            raise ConnectionError("the server went away")
        return answer()

    return fault
