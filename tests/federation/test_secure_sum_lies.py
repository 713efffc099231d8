"""A server that lies in the middle of a secure sum: the site says so, and gives nothing away."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import pytest
from flwr.app import Message
from rehearsal import Run
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
from summing_plans import TEACHING, summing_plan
from torch import Tensor

import client.sums
from client.records import read_letter
from lego_core.assemble import build_models
from lego_core.egress import model_of
from lego_core.letters import AbstractMessage
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.fixed_point import fraction_bits
from lego_core.protocol import (
    AbstractSummable,
    AskBlockUpdate,
    AskFuseUpdate,
    AskGrams,
    AskOutcomes,
    AskReport,
    AskStatistics,
    Refusal,
)
from lego_core.sum_forms import tensor_hashes
from lego_core.sum_letters import (
    AskSumConfirmations,
    AskSumKeys,
    AskSumOpening,
    AskSumShares,
    Invitation,
    MaskedVectors,
    SumConfirmations,
    SumKeys,
    SumOpening,
    SumShares,
)

VICTIM, VICTIM_NAME = 1, "clinic-2"
NOTHING = {"vector": set(), "signature": set(), "shares": set()}
OTHER_HASH = hashlib.sha256(b"something else").hexdigest()


WITH_EVERY_QUESTION = '[fuse]\nrounds = 1\n[merging.heads]\nkind = "regmean"'


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium.of(summing_clinics(4, WITH_EVERY_QUESTION), tmp_path_factory.mktemp("four"))


@pytest.fixture(scope="module")
def openly(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium.of(
        summing_clinics(3, WITH_EVERY_QUESTION, kind="no-privacy"), tmp_path_factory.mktemp("openly")
    )


# ---- sessions that no site should enter ------------------------------------------------------------


def session_with(**changed: object) -> Callable[[SessionDescriptor], SessionDescriptor]:
    return lambda one: one.model_copy(update=changed)


def among(*sites: str) -> Callable[[SessionDescriptor], SessionDescriptor]:
    """The same session among other sites, whatever follows from their number put right."""

    def lie(one: SessionDescriptor) -> SessionDescriptor:
        number = len(sites)
        return one.model_copy(
            update={
                "participants": sites,
                "neighbours": number - 1,
                "threshold": number // 2 + 1,
                "frac_bits": fraction_bits(number, one.clip_value),
            }
        )

    return lie


NEVER_ENTERED: dict[str, tuple[Callable[[SessionDescriptor], SessionDescriptor], str]] = {
    "two sites": (among("clinic-1", "clinic-2"), "2 sites are fewer than 3"),
    "a threshold of one": (session_with(threshold=1), "1 corrupt ones could open two sums"),
    "a threshold of half": (session_with(threshold=2), "1 corrupt ones could open two sums"),
    "a threshold beyond all": (session_with(threshold=5), "a threshold of 5 among 4 sites is none"),
    "a sum of two": (session_with(min_survivors=2), "a sum of 2 sites could be opened"),
    "a circle": (session_with(neighbours=2), "does not rely on an honest server"),
    "corrupt sites unprovided for": (
        session_with(max_corrupt=2),
        "with a threshold of 3 among 4 sites, 2 corrupt ones could open two sums",
    ),
    "bits that wrap": (session_with(frac_bits=31), "31 bits could wrap"),
    "no clip": (session_with(clip=(0.0).hex()), "its clip is 0"),
    "an old session": (session_with(deadline=int(time.time()) - 60), "it ended"),
}


@pytest.mark.parametrize("name", NEVER_ENTERED)
def test_no_site_shows_keys_in_a_session_that_is_not_safe(four: Consortium, name: str) -> None:
    lie, sentence = NEVER_ENTERED[name]
    desk = four.desk(lie=lie)

    gathered = desk.train()

    assert not gathered.sites
    assert "stays closed" in gathered.closed
    assert sentence in desk.reasons(VICTIM_NAME)
    assert "Nothing was sent" in desk.reasons(VICTIM_NAME)
    assert not [sid for one in desk.answered(SumKeys) for sid in SumKeys.read(one.letter).bundles]
    assert all(desk.sent(site=site) == NOTHING for site in range(4))


def test_no_site_sums_with_one_that_is_not_on_the_roster(four: Consortium) -> None:
    """The server's own keys list may name it; the sites' roster does not."""
    others = ("clinic-1", "clinic-2", "clinic-3", "sybil")
    stranger = four.desk(lie=among(*others))
    assert stranger.office is not None

    with pytest.raises(KeyError):  # an honest server cannot even check such a site's keys
        stranger.office.keys["sybil"]
    stranger.train()

    assert "some of its sites are not on the roster" in stranger.reasons(VICTIM_NAME)
    assert all(stranger.sent(site=site) == NOTHING for site in range(4))


ABOUT_SOMETHING_ELSE: dict[str, dict[str, object]] = {
    "run": {"run": "tiny/7"},
    "round": {"round": 2},
    "group": {"group": "blocks/blood"},
    "clip": {"clip": (32.0).hex(), "frac_bits": fraction_bits(4, 32.0)},
    "weight-cap": {"weight_cap": 7},
    "schema-sha256": {"schema_sha256": OTHER_HASH},
    "task-sha256": {"task_sha256": OTHER_HASH},
    "roster-sha256": {"roster_sha256": OTHER_HASH},
    "clipped-dim": {"clipped_dim": 5},
}


IN_SHORT = ("round", "group", "task-sha256")  # the checks one by one are tested in `unit/privacy`


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in IN_SHORT else [pytest.mark.slow])
        for name in ABOUT_SOMETHING_ELSE
    ],
)
def test_no_site_trains_for_a_session_about_something_else(four: Consortium, name: str) -> None:
    changed = ABOUT_SOMETHING_ELSE[name]
    if name == "clipped-dim":
        changed = {}
    desk = four.desk(
        lie=session_with(**changed)
        if changed
        else lambda one: one.model_copy(update={"clipped_dim": one.clipped_dim - 4})
    )

    gathered = desk.train()

    assert not gathered.sites
    assert f"its {name} is not what this site's plan and question say" in desk.reasons(VICTIM_NAME)
    assert all(desk.sent(site=site) == NOTHING for site in range(4))


def test_other_weights_in_the_session_than_in_the_question_end_it(four: Consortium) -> None:
    desk = four.desk(lie=session_with(model_sha256=OTHER_HASH))

    desk.train()

    assert "are not those that all sites were told to train on" in desk.reasons(VICTIM_NAME)
    assert all(desk.sent(site=site) == NOTHING for site in range(4))


# ---- one site is told something else -----------------------------------------------------------------


def with_invitation(**changes: Callable[[Invitation], object]) -> Callable[[AskBlockUpdate], AskBlockUpdate]:
    def change(one: AskBlockUpdate) -> AskBlockUpdate:
        sums = {
            group: own.model_copy(update={key: make(own) for key, make in changes.items()})
            for group, own in one.sums.items()
        }
        return one.model_copy(update={"sums": sums})

    return change


def swapped(shown: dict[int, bytes], one: int, other: int) -> dict[int, bytes]:
    return {**shown, one: shown[other], other: shown[one]}


# what one site is told, and what it says to it; places are from 1, so the victim's is 2
TOLD_TO_ONE: dict[str, tuple[type[AbstractMessage], Callable, str]] = {
    "other keys in its name": (
        AskSumShares,
        with_bundles(lambda own: {**own, 2: own[1]}),
        "other keys in this site's name",
    ),
    "keys of another in a third one's name": (
        AskSumShares,
        with_bundles(lambda own: swapped(own, 1, 3)),
        "did not sign the keys shown in its name",
    ),
    "keys with a changed byte": (
        AskSumShares,
        with_bundles(lambda own: {**own, 1: own[1][:40] + b"?" + own[1][41:]}),
        "did not sign",
    ),
    "keys cut short": (AskSumShares, with_bundles(lambda own: {**own, 1: own[1][:-1]}), "has 159 bytes"),
    "the same keys twice": (
        AskSumShares,
        with_bundles(lambda own: {**own, 3: own[1]}),
        "two sites show the same key",
    ),
    "keys of two sites": (
        AskSumShares,
        with_bundles(lambda own: {1: own[1], 2: own[2]}),
        "2 sites showed keys and 3 are needed",
    ),
    "keys of nobody": (
        AskSumShares,
        with_bundles(lambda own: {**own, 9: own[1]}),
        "keys came from places where nobody is",
    ),
    "keys from beyond all places": (
        AskSumShares,
        with_bundles(lambda own: {**own, 99_999: own[1]}),
        "names a place outside 1 to 65535",
    ),
    "no shares": (
        AskBlockUpdate,
        with_invitation(sealed=lambda _: {}),
        "not those of the sites said to share",
    ),
    "shares that were swapped": (
        AskBlockUpdate,
        with_invitation(sealed=lambda own: swapped(own.sealed, 1, 3)),
        "were changed on the way",
    ),
    "a share with a changed byte": (
        AskBlockUpdate,
        with_invitation(
            sealed=lambda own: {**own.sealed, 1: bytes([own.sealed[1][0] ^ 1]) + own.sealed[1][1:]}
        ),
        "were changed on the way",
    ),
    "sharing sites without it": (
        AskBlockUpdate,
        with_invitation(sharing_sites=lambda _: (1, 3, 4)),
        "not those that showed keys",
    ),
    "sharing sites that showed no keys": (
        AskBlockUpdate,
        with_invitation(sharing_sites=lambda _: (1, 2, 3, 4, 5)),
        "not those that showed keys",
    ),
    "two sharing sites": (
        AskBlockUpdate,
        with_invitation(sharing_sites=lambda _: (1, 2), sealed=lambda own: {1: own.sealed[1]}),
        "2 sites share, which is too few",
    ),
    "a session that it does not know": (
        AskBlockUpdate,
        with_invitation(session=lambda _: OTHER_HASH),
        "knows nothing of a session",
    ),
    "a sum it has no part in": (
        AskBlockUpdate,
        lambda one: one.model_copy(update={"sums": {"blocks/blood": one.sums["blocks/clinical"]}}),
        "the server invites to the sums ['blocks/blood']",
    ),
    "another round": (
        AskBlockUpdate,
        lambda one: one.model_copy(update={"round": 2}),
        "its round is not what this site's",
    ),
    "to train to the end": (
        AskBlockUpdate,
        lambda one: one.model_copy(update={"to_the_end": True}),
        "its plan trains in mode 'rounds', and it is asked to train to the end",
    ),
    "only to score": (
        AskBlockUpdate,
        lambda one: one.model_copy(update={"score_only": True}),
        "the server invites to the sums",
    ),
    "no invitation": (
        AskBlockUpdate,
        lambda one: one.model_copy(update={"sums": {}}),
        "it was asked for numbers in the open",
    ),
    "survivors without it": (
        AskSumConfirmations,
        with_sets(survivors=(1, 3, 4)),
        "this site is not among them",
    ),
    "survivors who did not share": (
        AskSumConfirmations,
        with_sets(survivors=(1, 2, 3, 4, 5)),
        "survivors are not among those who share",
    ),
    "two survivors": (
        AskSumConfirmations,
        with_sets(survivors=(1, 2)),
        "the sum of 2 sites was to be opened, and 3 are needed",
    ),
    "other sharing sites than before": (
        AskSumConfirmations,
        with_sets(sharing_sites=(1, 2, 3)),
        "other sharing sites than before",
    ),
    "places that are none": (
        AskSumConfirmations,
        with_sets(survivors=(0, 2, 3, -1)),
        "names a place outside 1 to 65535",
    ),
    "confirmations of two": (
        AskSumOpening,
        with_confirmations(lambda own: {1: own[1], 2: own[2]}),
        "2 survivors signed these sets",
    ),
    "forged confirmations": (
        AskSumOpening,
        with_confirmations(lambda own: {place: bytes(64) for place in own}),
        "0 survivors signed these sets and 3 are needed",
    ),
    "one confirmation for all": (
        AskSumOpening,
        with_confirmations(lambda own: dict.fromkeys(own, own[1])),
        "1 survivors signed these sets and 3 are needed",
    ),
}
GIVEN_BEFORE = {
    AskSumShares: set(),
    AskBlockUpdate: set(),
    AskSumConfirmations: {"vector"},
    AskSumOpening: {"vector", "signature"},
}


@pytest.mark.parametrize("name", TOLD_TO_ONE)
def test_a_site_that_is_told_something_else_ends_the_session(four: Consortium, name: str) -> None:
    kind, change, sentence = TOLD_TO_ONE[name]
    desk = four.desk(lying(kind, change, to=VICTIM))

    desk.train()

    sent = desk.sent(site=VICTIM)
    assert sentence in desk.reasons(VICTIM_NAME)
    assert {what for what, sids in sent.items() if sids} == GIVEN_BEFORE[kind]
    assert ends_every_session(desk, kind)


def ends_every_session(desk: Desk, kind: type[AbstractMessage]) -> bool:
    """Whether the site refuses to go on in the sessions in which it was lied to, asked rightly now."""
    (right, *_) = [one.message for one in desk.asked(kind, site=0)]
    message = desk.asked(kind, site=VICTIM)[0].message
    put(message, read_letter(right))
    answer = desk.answer(VICTIM, message)
    if answer.kind == Refusal.kind:
        return True
    kinds = {AskSumShares: SumShares, AskBlockUpdate: MaskedVectors}
    kinds |= {AskSumConfirmations: SumConfirmations, AskSumOpening: SumOpening}
    read = kinds[kind].read(answer)
    return set(json.loads(answer.body)) >= {"declined"} and bool(read.declined) and not answer.tensors


def test_a_split_list_of_keys_opens_nothing(four: Consortium) -> None:
    """The victim is not told of the fourth site: its transcript is another, and no shares fit together."""
    desk = four.desk(
        lying(AskSumShares, with_bundles(lambda own: {place: own[place] for place in (1, 2, 3)}), to=VICTIM)
    )

    gathered = desk.train()

    assert VICTIM_NAME not in gathered.sites
    assert desk.sent(site=VICTIM) == NOTHING
    for site in range(4):
        assert not desk.sent(site=site)["shares"] or VICTIM_NAME not in gathered.sites


# ---- other weights to one site -------------------------------------------------------------------------


def test_weights_that_are_not_those_of_the_others_are_not_trained_on(four: Consortium) -> None:
    desk = four.desk(lying(AskBlockUpdate, lambda one: one, to=VICTIM, tensors=shifted))

    desk.train()

    assert "are not those that the server says it sent to all sites" in desk.reasons(VICTIM_NAME)
    assert desk.sent(site=VICTIM) == NOTHING


def test_nor_are_they_where_their_hashes_were_put_right(four: Consortium) -> None:
    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if site == VICTIM and message.metadata.message_type == AskBlockUpdate.kind:
            letter = read_letter(message)
            tensors = shifted(letter.tensors)
            question = AskBlockUpdate.read(letter).model_copy(update={"weights": tensor_hashes(tensors)})
            put(message, question.letter(tensors))
        return answer()

    desk = four.desk(fault)

    desk.train()

    assert "its task-sha256 is not what this site's plan and question say" in desk.reasons(VICTIM_NAME)
    assert desk.sent(site=VICTIM) == NOTHING


def test_nor_are_they_in_a_fuse_round(run: Run) -> None:
    def other(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        first = min(tensors)
        return {**tensors, first: tensors[first] + 1}

    lie = lying(AskFuseUpdate, lambda one: one, to=TEACHING[0], tensors=other)

    ended = run(summing_plan(changes="[rounds]\nrounds = 1"), lie)

    reasons = [left.reason for left in ended.left_out("teaching-1", phase="fuse")]
    assert any("it sent to all sites of the sum. Nothing was trained or sent" in one for one in reasons), (
        reasons
    )


@pytest.fixture(scope="module")
def opened(four: Consortium) -> Desk:
    """A round that went well."""
    desk = four.desk()
    assert len(desk.train().sites) == 4
    return desk


# ---- questions in the open ---------------------------------------------------------------------------------


def questions(desk: Desk) -> dict[str, AbstractSummable]:
    """One question of every kind, as they are asked where nothing is hidden."""
    agreement = desk.agreed.agreement
    about = {"agreement": agreement, "modality": "clinical"}
    asked: list[AbstractSummable] = [
        AskStatistics(modality="clinical", schema_of_group=agreement.schemas["clinical"]),
        AskOutcomes(),
        AskBlockUpdate(**about, round=1),
        AskBlockUpdate(**about, round=1, score_only=True),
        AskFuseUpdate(agreement=agreement, modalities=("clinical",), round=1),
        AskGrams(**about),
        AskReport(agreement=agreement, modalities=("clinical",)),
    ]
    return {f"{one.kind} {getattr(one, 'score_only', '')}".strip(): one for one in asked}


KINDS = [
    "query.statistics", "query.outcomes", "train.block False", "train.block True", "train.fuse False",
    "query.grams", "evaluate.model",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_leaves_in_the_open_where_the_plan_sums(four: Consortium, opened: Desk, kind: str) -> None:
    question = questions(opened)[kind]
    state = opened.learner.state() if question.kind.startswith(("train", "query.grams")) else {}
    message = message_to(opened, question, state)

    answer = opened.answer(0, message)

    assert answer.kind == Refusal.kind
    refusal = Refusal.read(answer)
    assert refusal.declined
    assert "it was asked for numbers in the open" in refusal.public
    assert "prescribes secure sums. Nothing was sent" in refusal.public


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_is_hidden_where_the_plan_hides_none(openly: Consortium, kind: str) -> None:
    desk = openly.desk()
    invitation = Invitation(session=OTHER_HASH, sharing_sites=(1, 2, 3), sealed={})
    question = questions(desk)[kind].model_copy(update={"sums": {"blocks/clinical": invitation}})
    state = desk.learner.state() if question.kind.startswith(("train", "query.grams")) else {}
    desk.train()

    answer = desk.answer(0, message_to(desk, question, state))

    assert answer.kind == Refusal.kind
    assert "it was asked for a secure sum" in Refusal.read(answer).public
    assert "prescribes none" in Refusal.read(answer).public


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_enters_no_sum_that_its_answer_does_not_go_into(
    four: Consortium, opened: Desk, kind: str
) -> None:
    invitation = Invitation(session=OTHER_HASH, sharing_sites=(1, 2, 3), sealed={})
    question = questions(opened)[kind].model_copy(update={"sums": {"blocks/another": invitation}})

    answer = opened.answer(0, message_to(opened, question, weights_for(question, opened)))

    assert answer.kind == Refusal.kind
    assert Refusal.read(answer).declined
    assert "the server invites to the sums ['blocks/another'], and its question goes into" in (
        Refusal.read(answer).public
    )


def weights_for(question: AbstractSummable, desk: Desk) -> dict[str, Tensor]:
    """What would come with a question."""
    match question:
        case AskBlockUpdate() | AskGrams():
            return desk.learner.state()
        case AskFuseUpdate():
            return model_of(question, desk.plan).state_dict()
        case AskReport():
            return build_models(
                desk.plan, question.agreement, question.modalities, with_fused=question.with_fused
            ).state_dict()
        case _:
            return {}


def message_to(desk: Desk, question: AbstractMessage, tensors: Mapping[str, Tensor]) -> Message:
    """A message to the first site; made of one that was on its way, since only Flower's grid numbers them."""
    message = another(desk.grid.asked[0], question.letter(tensors))
    message.metadata.message_type = question.kind
    return message


def test_a_session_in_more_than_one_form_is_no_session(four: Consortium) -> None:
    spaced = lying(
        AskSumKeys,
        lambda one: one.model_copy(update={"sessions": tuple(s.replace(b",", b", ") for s in one.sessions)}),
        to=VICTIM,
    )
    desk = four.desk(spaced)

    desk.train()

    assert "not written in its one form" in desk.reasons(VICTIM_NAME)


# ---- clocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-30])
def test_a_clock_that_is_slow_keeps_no_site_out(
    four: Consortium, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    desk = four.desk(with_clock(monkeypatch, hours=hours))

    assert len(desk.train().sites) == 4


@pytest.mark.parametrize("hours", [1])
def test_a_clock_that_is_fast_keeps_its_site_out_by_name(
    four: Consortium, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    desk = four.desk(with_clock(monkeypatch, hours=hours))

    gathered = desk.train()

    assert gathered.sites == ("clinic-1", "clinic-3", "clinic-4")
    assert "it ended" in desk.reasons(VICTIM_NAME)
    assert "Look at the clocks" in desk.reasons(VICTIM_NAME)


def test_a_session_that_ended_before_the_training_is_not_trained_for(
    four: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = four.desk(with_clock(monkeypatch, hours=1, at=AskBlockUpdate))

    gathered = desk.train()

    assert VICTIM_NAME not in gathered.sites
    assert "it ended" in desk.reasons(VICTIM_NAME)
    assert not desk.sent(site=VICTIM)["vector"]


def with_clock(
    monkeypatch: pytest.MonkeyPatch, *, hours: int, at: type[AbstractMessage] | None = None
) -> Callable[[int, Message, Answer], Message | None]:
    """The victim's clock is wrong by so many hours; at one kind of question, or at all."""

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        asked = at is None or message.metadata.message_type == at.kind
        wrong = hours * 3600 if site == VICTIM and asked else 0
        with monkeypatch.context() as patched:
            patched.setattr(client.sums, "time", SimpleNamespace(time=lambda: time.time() + wrong))
            return answer()

    return fault


def test_a_session_stays_open_while_sites_are_waited_for_at_every_stage(four: Consortium) -> None:
    """Three waits lie before the vectors are due: for keys, for shares, and for the question itself."""
    desk = four.desk()
    assert desk.office is not None
    before = time.time()
    desk.train()

    for one in desk.sessions().values():
        assert one.deadline >= before + 3 * desk.office.wait_seconds + 600 - 1
