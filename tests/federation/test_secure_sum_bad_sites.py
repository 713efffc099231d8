"""Sites that send what cannot be, or whose disk is not as it was: each is left out by name."""

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
from faults import Spoil, with_letter, with_tensors
from flwr.app import Message
from sum_desk import Answer, Consortium, Desk, summing_clinics
from tiny_plans import group
from torch import Tensor

import client.site
import server.setting
from lego_core.errors import PrivacyError, ProtocolError
from lego_core.letters import Letter
from lego_core.protocol import AskBlockUpdate, Progress
from lego_core.signing import SigningKey
from lego_core.sum_letters import (
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
from lego_core.summed_scores import Case
from lego_core.training import Trainer
from server.participants import gather

BAD, BAD_NAME = 1, "clinic-2"
OTHERS = ("clinic-1", "clinic-3", "clinic-4")


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium.of(summing_clinics(4), tmp_path_factory.mktemp("four"))


# ---- answers that cannot be ------------------------------------------------------------------------


def with_vectors(change: Callable[[Tensor], Tensor]) -> Spoil:
    return with_tensors(lambda own: {sid: change(tensor) for sid, tensor in own.items()})


def with_signature(change: Callable[[str], str]) -> Spoil:
    def spoil(letter: Letter) -> Letter:
        (signature,) = (one.hex() for one in MaskedVectors.read(letter).signatures.values())
        return replace(letter, body=letter.body.replace(signature, change(signature)))

    return with_letter(spoil)


def instead(kind: str) -> Spoil:
    return with_letter(lambda letter: replace(letter, kind=kind))


BAD_ANSWERS: dict[str, tuple[str, Spoil, str]] = {
    "a vector with a changed number": (
        AskBlockUpdate.kind,
        with_vectors(lambda own: own + torch.eye(len(own), dtype=own.dtype)[0]),
        "its vector is not signed by it",
    ),
    "a forged signature": (
        AskBlockUpdate.kind,
        with_signature(lambda own: own[:-2] + ("00" if own[-2:] != "00" else "01")),
        "its vector is not signed by it",
    ),
    "half a signature": (
        AskBlockUpdate.kind,
        with_signature(lambda own: own[:64]),
        "its vector is not signed",
    ),
    "a signature that is none": (
        AskBlockUpdate.kind,
        with_signature(lambda _: "z"),
        "Letter 'masked-vectors'",
    ),
    "a vector too short": (AskBlockUpdate.kind, with_vectors(lambda own: own[:-1]), "were declared"),
    "a vector in floats": (AskBlockUpdate.kind, with_vectors(lambda own: own.float()), "torch.float32 where"),
    "a tensor that nobody declared": (
        AskBlockUpdate.kind,
        with_tensors(lambda own: {**own, "records": torch.ones(3)}),
        "'records'",
    ),
    "no vector": (AskBlockUpdate.kind, with_tensors(lambda _: {}), "were declared"),
    "another letter": (
        AskBlockUpdate.kind,
        with_letter(lambda _: Progress().letter()),
        "kind 'progress' came",
    ),
    "keys of another site": (
        AskSumKeys.kind,
        with_letter(
            lambda one: SumKeys(bundles=dict.fromkeys(SumKeys.read(one).bundles, bytes(160))).letter()
        ),
        "its keys are not signed by it",
    ),
    "no keys": (AskSumKeys.kind, instead("sum-shares"), "came where 'sum-keys' was expected"),
    "shares for two": (
        AskSumShares.kind,
        with_letter(
            lambda one: SumShares(
                sealed={sid: {1: own[1]} for sid, own in SumShares.read(one).sealed.items()}
            ).letter()
        ),
        "it did not deal a share to each of its neighbours",
    ),
    "a signature under other survivors": (
        AskSumConfirmations.kind,
        with_letter(
            lambda one: SumConfirmations(
                signatures=dict.fromkeys(SumConfirmations.read(one).signatures, bytes(64))
            ).letter()
        ),
        "it did not sign the survivors",
    ),
    "false shares": (
        AskSumOpening.kind,
        with_letter(
            lambda one: SumOpening(
                shares={
                    sid: {place: bytes(33) for place in own}
                    for sid, own in SumOpening.read(one).shares.items()
                }
            ).letter()
        ),
        "it handed out a false share of site",
    ),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_bad_answer_leaves_its_site_out_and_the_sum_goes_on(four: Consortium, name: str) -> None:
    kind, spoil, sentence = BAD_ANSWERS[name]
    desk = four.desk(at_the_bad_site(kind, lambda message, answer: spoil(message, answer)))

    gathered = desk.train()

    is_too_late = kind in (AskSumConfirmations.kind, AskSumOpening.kind)
    assert gathered.sites == tuple(sorted((*OTHERS, BAD_NAME) if is_too_late else OTHERS))
    assert sentence in desk.reasons(BAD_NAME)
    assert {one.site for one in desk.left_out} == {BAD_NAME}


def at_the_bad_site(kind: str, spoil: Spoil) -> Callable[[int, Message, Answer], Message | None]:
    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        is_meant = site == BAD and message.metadata.message_type == kind
        return spoil(message, answer) if is_meant else answer()

    return fault


# ---- what a site refuses to add ----------------------------------------------------------------------


def test_an_update_that_is_not_finite_adds_no_change_and_is_not_told_from_others(
    four: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal would be this site's own word on its patients, which the sum is there to hide."""

    def diverged(self: Trainer, *_: object, **__: object) -> list[object]:
        with torch.no_grad():
            next(self.model.parameters()).fill_(torch.nan)
        return []

    def spoil(_message: Message, answer: Answer) -> Message:
        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "fit", diverged)
            return answer()

    desk = four.desk(at_the_bad_site(AskBlockUpdate.kind, spoil))

    gathered = desk.train()
    without = four.desk(lambda site, _, answer: None if site == BAD else answer()).train()

    assert gathered.sites == tuple(sorted((*OTHERS, BAD_NAME)))
    assert not desk.left_out
    for part in ("own", "trunk"):
        (one,), (other,) = gathered.updates[part], without.updates[part]
        torch.testing.assert_close(one.total, other.total, rtol=0, atol=1e-3)
        assert float(other.total.norm()) > 0.1
        assert one.weight > other.weight


def test_more_patients_than_may_count_are_refused_before_they_are_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unequal = group("small", "clinical", hospitals=3, split=(0.5, 0.1, 0.4)) + group(
        "large", "clinical", share=2.0, split=(0.8, 0.1, 0.1)
    )
    capped = Consortium.of(summing_clinics(4, unequal, privacy="weight-cap = 30"), tmp_path)
    trained: list[int] = []
    fit = Trainer.fit

    def counted(self: Trainer, train, *rest: object, **settings: object):
        trained.append(len(train))
        return fit(self, train, *rest, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "fit", counted)
    desk = capped.desk()

    gathered = desk.train()

    assert gathered.sites == ("small-1", "small-2", "small-3")
    assert "more training patients than the 30 that the plan lets count" in desk.reasons("large")
    assert "Nothing was trained or sent" in desk.reasons("large")
    assert len(trained) == 3
    assert max(trained) <= 30


@pytest.mark.parametrize("count", [0.0, -3.0, 0.4])
def test_scores_of_no_patients_are_no_scores(count: float) -> None:
    """What a site that lies about its numbers can make of a sum; nobody sees which."""
    case = Case("holding", ("clinical",), bootstrap=1, with_fused=False)
    summed = {
        name: torch.full(shape, count, dtype=torch.float64) for name, shape in case.form.numbers.items()
    }

    with pytest.raises(ProtocolError, match="A site sent false numbers, and the sum hides which"):
        case.from_sums(summed)


# ---- a disk that is not as it was ---------------------------------------------------------------------


@contextmanager
def readable_key(site: Path) -> Iterator[None]:
    (site / "identity.key").chmod(0o644)
    yield
    (site / "identity.key").chmod(0o600)


@contextmanager
def without_key(site: Path) -> Iterator[None]:
    (site / "identity.key").rename(site / "away")
    yield
    (site / "away").rename(site / "identity.key")


@contextmanager
def with_another_key(site: Path) -> Iterator[None]:
    with without_key(site):
        SigningKey.make().save(site / "identity.key")
        yield
        (site / "identity.key").unlink()


@contextmanager
def changed(path: Path, old: bytes, new: bytes) -> Iterator[None]:
    before = path.read_bytes()
    assert old in before
    path.write_bytes(before.replace(old, new, 1))
    yield
    path.write_bytes(before)


DAMAGES: dict[str, tuple[Callable[[Path], AbstractContextManager[None]], str]] = {
    "a key that others may read": (readable_key, "may be used by others than its owner"),
    "no key": (without_key, "Key file 'identity.key' cannot be read"),
    "a key that is not on the roster": (with_another_key, "and the roster of 'tiny' names"),
    "a ledger with a changed byte": (
        lambda site: changed(site / "ledger.jsonl", b'"stage"', b'"stake"'),
        "'ledger.jsonl' was changed: line 2 does not follow",
    ),
    "a roster with a changed byte": (
        lambda site: changed(site.parent / "roster.json", b'"consortium": "tiny"', b'"consortium": "tinY"'),
        "roster",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
@pytest.mark.parametrize("kind", [AskSumKeys.kind, AskBlockUpdate.kind])
def test_a_site_whose_disk_was_damaged_takes_no_part(four: Consortium, name: str, kind: str) -> None:
    damage, sentence = DAMAGES[name]

    def spoil(_message: Message, answer: Answer) -> Message:
        with damage(four.site(BAD)):
            return answer()

    desk = four.desk(at_the_bad_site(kind, spoil))

    gathered = desk.train()

    assert gathered.sites == OTHERS
    assert sentence in desk.reasons(BAD_NAME)
    assert not desk.sent(site=BAD)["vector"]


@pytest.mark.parametrize("kind", [AskSumKeys.kind, AskBlockUpdate.kind, AskSumConfirmations.kind])
def test_a_site_with_a_full_disk_answers_nothing_that_it_could_not_note(four: Consortium, kind: str) -> None:
    ledger = four.site(BAD) / "ledger.jsonl"
    before: list[bytes] = []

    def spoil(_message: Message, answer: Answer) -> Message:
        before.append(ledger.read_bytes())
        with moved_away(ledger.with_name("audit.jsonl")), limited_files(len(before[0]) + 20):
            return answer()

    desk = four.desk(at_the_bad_site(kind, spoil))

    gathered = desk.train()

    assert gathered.sites == tuple(
        sorted((*OTHERS, BAD_NAME) if kind == AskSumConfirmations.kind else OTHERS)
    )
    assert "'ledger.jsonl' cannot be written (File too large)" in desk.reasons(BAD_NAME)
    assert not desk.sent(site=BAD)["signature"]
    assert not desk.sent(site=BAD)["shares"]
    assert ledger.read_bytes() == before[0]
    assert len(four.desk().train().sites) == 4  # with room again, all goes on


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    """Another file that would be full first."""
    path.rename(path.with_suffix(".away"))
    yield
    path.with_suffix(".away").rename(path)


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# ---- rosters ----------------------------------------------------------------------------------------


class LaterClock(datetime):
    """Today is in twelve years; rosters of simulated sites hold for ten."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=12 * 365)


@pytest.mark.parametrize("kind", [AskSumKeys.kind, AskBlockUpdate.kind, AskSumConfirmations.kind])
def test_a_site_whose_roster_has_expired_takes_no_part(
    four: Consortium, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def spoil(_message: Message, answer: Answer) -> Message:
        with monkeypatch.context() as patched:
            patched.setattr(client.site, "datetime", LaterClock)
            return answer()

    desk = four.desk(at_the_bad_site(kind, spoil))

    desk.train()

    assert "today" in desk.reasons(BAD_NAME) or "roster" in desk.reasons(BAD_NAME)
    assert not desk.sent(site=BAD)["signature"]


def test_a_server_whose_roster_has_expired_begins_no_run(
    four: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.setting, "datetime", LaterClock)

    with pytest.raises(PrivacyError, match="roster"):
        four.desk()


def test_a_site_that_is_not_on_the_roster_is_left_out_by_name(four: Consortium) -> None:
    desk: Desk = four.desk()
    assert desk.office is not None
    roster = {name: key for name, key in desk.office.keys.items() if name != BAD_NAME}

    there = gather(desk.exchange, four.plan, roster=roster)

    assert [one.site for one in there] == list(OTHERS)
    assert f"Site '{BAD_NAME}' has no key on the roster" in desk.reasons(BAD_NAME)
