"""Whatever bytes come where those of a secure sum are read: a sentence, quickly, and nothing else."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sum_desk import Consortium, Desk, another, summing_clinics

from lego_core.chained_log import check_chain
from lego_core.errors import LegoError
from lego_core.letters import AbstractMessage, Letter
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.keys import Bundle
from lego_core.privacy.fsa1.limits import SiteLimits
from lego_core.privacy.fsa1.sharing import combine
from lego_core.privacy.fsa1.wire import read_set, set_bytes
from lego_core.protocol import AskBlockUpdate, Refusal
from lego_core.sum_letters import (
    SUM_ANSWERS,
    AskSumConfirmations,
    AskSumKeys,
    AskSumOpening,
    AskSumShares,
    MaskedVectors,
    SumConfirmations,
    SumKeys,
    SumOpening,
    SumShares,
)

FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(FEW, max_examples=2_000)
VICTIM = 1
QUESTIONS = (AskSumKeys, AskSumShares, AskBlockUpdate, AskSumConfirmations, AskSumOpening)
ANSWERS = (SumKeys, SumShares, MaskedVectors, SumConfirmations, SumOpening)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium.of(summing_clinics(3), tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def honest(three: Consortium) -> Desk:
    desk = three.desk()
    assert len(desk.train().sites) == 3
    return desk


# ---- bytes that are nearly right --------------------------------------------------------------------


def spoiled(whole: bytes, data: st.DataObject) -> bytes:
    """Some bytes changed, cut out, put in or said twice; or others altogether."""
    if data.draw(st.booleans(), label="altogether"):
        return data.draw(st.binary(max_size=400))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 40)))
    put_in = data.draw(st.one_of(st.binary(max_size=20), st.just(whole[start:end] * 2)))
    return whole[:start] + put_in + whole[end:]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=200).map(bytes.hex),
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def spoiled_plain(whole: Any, data: st.DataObject) -> Any:
    """A JSON value with another value, key or number of items somewhere in it."""
    if isinstance(whole, dict) and whole and data.draw(st.integers(0, 3)):
        key = data.draw(st.sampled_from(sorted(whole)))
        new_key = data.draw(st.sampled_from([key, key, key, f"{key}0", "99999999", "-1"]))
        rest = {name: one for name, one in whole.items() if name != key}
        return {**rest, new_key: spoiled_plain(whole[key], data)}
    if isinstance(whole, list) and whole and data.draw(st.integers(0, 3)):
        place = data.draw(st.integers(0, len(whole) - 1))
        return [*whole[:place], spoiled_plain(whole[place], data), *whole[place + 1 :]]
    if isinstance(whole, str) and data.draw(st.booleans()):
        return spoiled(whole.encode(), data).decode("latin-1")
    if isinstance(whole, int) and data.draw(st.booleans()):
        return whole + data.draw(st.integers(-3, 3))
    return data.draw(PLAIN)


def only_sentences(read: Callable[[], object]) -> None:
    with suppress(LegoError):  # whose texts have tests of their own; anything else is an error here
        read()


# ---- decoders ------------------------------------------------------------------------------------------


def decoders(honest: Desk) -> dict[str, tuple[Callable[[bytes], object], bytes]]:
    """Every place where bytes from elsewhere are read, and bytes that it can read."""
    (described, *_) = honest.sessions().values()
    shown = next(iter(AskSumShares.read(honest.asked(AskSumShares)[0].letter).bundles.values()))
    limits = {"site": "clinic-2", "roster": frozenset({"clinic-1", "clinic-2", "clinic-3"}), "now": 0}

    def enter(packed: bytes) -> None:
        read = SessionDescriptor.read(packed)
        SiteLimits().check(read, **limits)
        assert read.packed() == packed

    return {
        "session": (enter, described.packed()),
        "bundle": (Bundle.read, shown[1]),
        "set": (read_set, set_bytes({1, 2, 700})),
        "share": (lambda own: combine({1: own, 2: bytes(33)}), bytes(33)),
        "ledger": (
            lambda own: check_chain(own.split(b"\n"), name="ledger.jsonl"),
            b'{"event": "sum-stage", "number": 1, "previous": "' + b"0" * 64 + b'"}\n',
        ),
    }


def read_spoiled_bytes(honest: Desk, name: str, data: st.DataObject) -> None:
    decoder, right = decoders(honest)[name]
    decoder(right[:-1] if name == "ledger" else right)

    only_sentences(lambda: decoder(spoiled(right, data)))


def read_spoiled_letter(honest: Desk, kind: type[AbstractMessage], data: st.DataObject) -> None:
    letter = (honest.asked(kind) if kind in QUESTIONS else honest.answered(kind))[0].letter
    body = json.dumps(spoiled_plain(json.loads(letter.body), data))

    only_sentences(lambda: kind.read(replace(letter, body=body)))
    only_sentences(
        lambda: kind.read(replace(letter, body=spoiled(letter.body.encode(), data).decode("latin-1")))
    )


DECODERS = ["session", "bundle", "set", "share", "ledger"]


@pytest.mark.parametrize("name", DECODERS)
@FEW
@given(data=st.data())
def test_any_bytes_are_read_or_refused_in_a_sentence(honest: Desk, name: str, data: st.DataObject) -> None:
    read_spoiled_bytes(honest, name, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODERS)
@MANY
@given(data=st.data())
def test_any_of_many_bytes_are_read_or_refused(honest: Desk, name: str, data: st.DataObject) -> None:
    read_spoiled_bytes(honest, name, data)


@pytest.mark.parametrize("kind", [*QUESTIONS, *ANSWERS])
@FEW
@given(data=st.data())
def test_any_letter_is_read_or_refused_in_a_sentence(
    honest: Desk, kind: type[AbstractMessage], data: st.DataObject
) -> None:
    read_spoiled_letter(honest, kind, data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*QUESTIONS, *ANSWERS])
@MANY
@given(data=st.data())
def test_any_of_many_letters_is_read_or_refused(
    honest: Desk, kind: type[AbstractMessage], data: st.DataObject
) -> None:
    read_spoiled_letter(honest, kind, data)


# ---- a whole site ---------------------------------------------------------------------------------------


def ask_something(three: Consortium, honest: Desk, kind: type[AbstractMessage], data: st.DataObject) -> None:
    desk = three.desk()
    overheard = honest.asked(kind, site=VICTIM)[0]
    letter = overheard.letter
    body = json.dumps(spoiled_plain(json.loads(letter.body), data))

    answer = desk.answer(VICTIM, another(overheard, Letter(letter.kind, body, letter.tensors)))

    # a question about a model that cannot be built ends in the gate, like any failure of a site
    assert kind is AskBlockUpdate or "incident" not in answer.body
    assert answer.kind == Refusal.kind or answer.kind in {one.kind for one in SUM_ANSWERS}
    assert not answer.tensors


@pytest.mark.parametrize("kind", QUESTIONS)
@settings(FEW, max_examples=6)
@given(data=st.data())
def test_a_site_answers_any_letter_in_words(
    three: Consortium, honest: Desk, kind: type[AbstractMessage], data: st.DataObject
) -> None:
    ask_something(three, honest, kind, data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", QUESTIONS)
@settings(FEW, max_examples=300)
@given(data=st.data())
def test_a_site_answers_any_of_many_letters_in_words(
    three: Consortium, honest: Desk, kind: type[AbstractMessage], data: st.DataObject
) -> None:
    ask_something(three, honest, kind, data)
