"""Large tensors travel in pieces: nothing else changes, nothing stays behind, nothing is taken on trust."""

import errno
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from faults import Answer
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from hypothesis import given
from hypothesis import strategies as st
from listening import ListeningGrid
from pydantic import ValidationError
from rehearsal import Rehearsal, Run
from summing_plans import summing_plan
from tiny_plans import clinics_only
from torch import Tensor

from client import parcels as site_parcels
from client.records import parcel_in, read_letter, reply_with
from client.spool import Spool
from lego_core import parcels
from lego_core.errors import DataError, ProtocolError
from lego_core.exchangeable import rounded
from lego_core.letters import Letter
from lego_core.parcel_letters import AskHeld, AskPiece, DropParcels, Piece, TakePiece
from lego_core.parcels import Parcel, bytes_of, cut, fill
from lego_core.protocol import AskBlockUpdate, Update
from server import parcels as server_parcels
from server.exchange import Answer as Answered
from server.exchange import Exchange, Question
from server.run_log import RunLog
from simulations.in_process import FIRST_NODE_ID, InProcessGrid

PIECE = 1000  # bytes
STATE = {
    "weight": torch.arange(1500, dtype=torch.float32),
    "half": torch.arange(300).to(torch.bfloat16).reshape(3, 100),
    "count": torch.tensor(7),
    "none": torch.empty(0, 4),
    "twin": torch.arange(1500, dtype=torch.float32),
}
app = ClientApp()


@app.train("echo")
def echo(message: Message, context: Context) -> Message:
    letter = read_letter(message, context)
    doubled = {name: tensor * 2 for name, tensor in letter.tensors.items()}
    answer = reply_with(Letter("echo", "{}", doubled), message, context)
    parcel = parcel_in(answer)
    if parcel is not None:
        Spool.of(context).let_out(parcel)
    return answer


app.query("held")(lambda message, context: reply_with(site_parcels.held(message, context), message))
app.query("take_piece")(lambda message, context: reply_with(site_parcels.take(message, context), message))
app.query("piece")(lambda message, context: reply_with(site_parcels.give(message, context), message))
app.query("drop_parcels")(lambda message, context: reply_with(site_parcels.drop(message, context), message))


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "LARGEST_MESSAGE", PIECE)


class SpoolGrid(InProcessGrid):
    """One site with a folder, and everything that is said to it.

    Args:
        folder: The site's.
        replies: Changes what comes back at one look.
        refused: Kinds of which the site's first answer is lost.
    """

    def __init__(
        self,
        folder: Path,
        *,
        replies: Callable[[list[Message]], list[Message]] = lambda replies: replies,
        **about: object,
    ) -> None:
        super().__init__(1, run_config={"sites-dir": str(folder)}, app=app, **about)  # type: ignore[arg-type]
        self.kinds: list[str] = []
        self._change = replies

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        messages = list(messages)
        self.kinds += [message.metadata.message_type for message in messages]
        return super().push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return self._change(super().pull_messages(message_ids))


def ask(grid: SpoolGrid, folder: Path, state: dict[str, Tensor] = STATE, *, about: str = "block") -> Answered:
    exchange = Exchange(grid, RunLog(folder / "run.jsonl"))
    question = Question(FIRST_NODE_ID, "site-0", Letter("train.echo", "{}", state), about)
    (answer,) = exchange.ask([question], timeout_seconds=20, doing={"phase": "blocks", "round": 1})
    return answer


def files(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


# ---- the way there and back ---------------------------------------------------------------------


def test_what_comes_back_is_what_would_in_one_message(tmp_path: Path) -> None:
    answer = ask(SpoolGrid(tmp_path), tmp_path)

    assert answer.letter is not None, answer.reason
    assert answer.letter.parcel is None
    for name, tensor in STATE.items():
        assert torch.equal(answer.letter.tensors[name], tensor * 2)
        assert answer.letter.tensors[name].dtype == tensor.dtype


def test_small_letters_travel_in_one_message(tmp_path: Path) -> None:
    grid = SpoolGrid(tmp_path)

    answer = ask(grid, tmp_path, {"weight": torch.ones(100)})

    assert answer.letter is not None
    assert grid.kinds == ["train.echo"]
    assert not (tmp_path / "site-0" / "spool").exists()


def test_no_message_holds_more_than_a_piece(tmp_path: Path) -> None:
    sizes = []

    def measured(_site: int, message: Message, answer: Answer) -> Message:
        reply = answer()
        sizes.extend(one.content.array_records["tensors"].count_bytes() for one in (message, reply))
        return reply

    ask(SpoolGrid(tmp_path, fault=measured), tmp_path)

    assert max(sizes) <= PIECE + 200


def test_tensors_that_a_site_holds_are_not_sent_again(tmp_path: Path) -> None:
    grid, changed = SpoolGrid(tmp_path), {**STATE, "weight": STATE["weight"] + 1}

    ask(grid, tmp_path)
    first = grid.kinds.count(TakePiece.kind)
    ask(grid, tmp_path)
    again = grid.kinds.count(TakePiece.kind) - first
    answer = ask(grid, tmp_path, changed)

    assert first == 7  # 6000 + 600 + 8 bytes; the twin is the same tensor
    assert again == 0
    assert answer.letter is not None
    assert torch.equal(answer.letter.tensors["weight"], changed["weight"] * 2)


def test_site_keeps_no_tensors_that_only_an_earlier_round_needed(tmp_path: Path) -> None:
    grid = SpoolGrid(tmp_path)

    ask(grid, tmp_path)
    ask(grid, tmp_path, {"weight": torch.zeros(2000)}, about="other")
    ask(grid, tmp_path, {"weight": torch.ones(2000)})

    held = {one.name for one in (tmp_path / "site-0" / "spool" / "held").iterdir()}
    wanted = Parcel.of({"a": torch.zeros(2000), "b": torch.ones(2000)})
    assert held == {one.sha256 for one in wanted.tensors}


def test_nothing_stays_on_any_disk(tmp_path: Path) -> None:
    grid = SpoolGrid(tmp_path / "sites")
    exchange = Exchange(grid, RunLog(tmp_path / "run.jsonl"))
    question = Question(FIRST_NODE_ID, "site-0", Letter("train.echo", "{}", STATE))

    exchange.ask([question], timeout_seconds=20, doing={})
    outbox = files(tmp_path / "sites" / "site-0" / "spool" / "outbox")
    exchange.drop_pieces()

    assert outbox == []
    assert files(tmp_path) == ["run.jsonl"]


# ---- pieces that are lost, doubled, changed or out of turn ---------------------------------------


def losing_first(kind: str) -> Callable[[int, Message, Answer], Message | None]:
    """The process of the site dies over its first question of a kind, after it has done its work."""
    from flwr.app import Error

    died: list[str] = []

    def fault(_site: int, message: Message, answer: Answer) -> Message | None:
        reply = answer()
        if message.metadata.message_type == kind and not died:
            died.append(kind)
            return Message(Error(8, "died"), reply_to=message)
        return reply

    return fault


@pytest.mark.parametrize(
    "kind", [AskHeld.kind, TakePiece.kind, "train.echo", AskPiece.kind, DropParcels.kind]
)
def test_step_whose_answer_is_lost_is_done_again(tmp_path: Path, kind: str) -> None:
    answer = ask(SpoolGrid(tmp_path, fault=losing_first(kind)), tmp_path)

    assert answer.letter is not None, answer.reason
    assert torch.equal(answer.letter.tensors["weight"], STATE["weight"] * 2)


def test_pieces_may_come_back_in_any_order(tmp_path: Path) -> None:
    answer = ask(SpoolGrid(tmp_path, replies=lambda replies: replies[::-1]), tmp_path)

    assert answer.letter is not None, answer.reason


def changing(kind: str, change: Callable[[Letter], Letter]) -> Callable[[int, Message, Answer], Message]:
    def fault(_site: int, message: Message, answer: Answer) -> Message:
        reply = answer()
        if message.metadata.message_type != kind:
            return reply
        letter = read_letter(reply)
        spoilt = change(letter)
        return reply_with(spoilt, message)

    return fault


def other_bytes(letter: Letter) -> Letter:
    return Letter(letter.kind, letter.body, {"bytes": letter.tensors["bytes"] ^ 1})


def other_bytes_with_their_hash(letter: Letter) -> Letter:
    content = letter.tensors["bytes"] ^ 1
    return Piece(offset=Piece.read(letter).offset, sha256=parcels.sha256_of(content)).letter(
        {"bytes": content}
    )


def always_the_first(letter: Letter) -> Letter:
    return Piece(offset=0, sha256=Piece.read(letter).sha256).letter(letter.tensors)


def shorter(letter: Letter) -> Letter:
    return Letter(letter.kind, letter.body, {"bytes": letter.tensors["bytes"][:-1]})


LIES = {
    "other bytes": (AskPiece.kind, other_bytes, "arrived with other bytes than the site sent"),
    "consistent other bytes": (AskPiece.kind, other_bytes_with_their_hash, "other bytes than were announced"),
    "the same piece twice": (AskPiece.kind, always_the_first, "was not asked for, or sent it twice"),
    "short pieces": (AskPiece.kind, shorter, "is not made of the"),
    "no bytes": (AskPiece.kind, lambda one: Letter(one.kind, one.body), "is not made of the"),
    "another number": (
        TakePiece.kind,
        lambda one: Letter(one.kind, '{"number": 99}'),
        "says that it took piece 99",
    ),
    "another letter": (TakePiece.kind, lambda _: Letter("held", "{}"), "where 'piece-taken' was expected"),
}


@pytest.mark.parametrize("name", LIES)
def test_site_that_lies_about_a_piece_is_told_by_a_sentence(tmp_path: Path, name: str) -> None:
    kind, change, said = LIES[name]

    answer = ask(SpoolGrid(tmp_path, fault=changing(kind, change)), tmp_path)

    assert answer.letter is None
    assert said in answer.reason


def test_answer_larger_than_its_question_allows_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_parcels, "LEAST_ROOM", 0)
    grid = SpoolGrid(tmp_path)

    answer = ask(grid, tmp_path, {"weight": torch.ones(200, dtype=torch.int8).repeat(3)})
    assert answer.letter is not None

    @app.train("more")
    def more(message: Message, context: Context) -> Message:
        return reply_with(Letter("echo", "{}", {"weight": torch.ones(5000)}), message, context)

    exchange = Exchange(grid, RunLog(tmp_path / "run.jsonl"))
    question = Question(FIRST_NODE_ID, "site-0", Letter("train.more", "{}", {"one": torch.ones(1)}))
    (answer,) = exchange.ask([question], timeout_seconds=20, doing={})

    assert "announces an answer of 20000 bytes, and 4 may come" in answer.reason
    assert AskPiece.kind not in grid.kinds


# ---- the site's own checks -----------------------------------------------------------------------


def pieces_of(tensor: Tensor) -> list[tuple[TakePiece, Tensor]]:
    parcel = Parcel.of({"x": tensor})
    held = {parcel.tensors[0].sha256: tensor}
    return [
        (
            TakePiece(number=number, sha256=parcels.sha256_of(fill(piece, held)), segments=piece),
            fill(piece, held),
        )
        for number, piece in enumerate(cut(parcel, set(held), largest=PIECE))
    ]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@given(order=st.lists(st.integers(0, 5), max_size=10), last=st.permutations(range(6)))
def test_pieces_may_come_in_any_order_and_any_number_of_times(
    order: list[int], last: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tensor, spool = torch.arange(1400, dtype=torch.float32), Spool(tmp_path_factory.mktemp("spool"))
    pieces = pieces_of(tensor)

    for number in (*order, *last):
        spool.take(*pieces[number])

    assert torch.equal(spool.open_held(Parcel.of({"x": tensor}))["x"], tensor)


def test_tensor_of_which_a_piece_is_missing_is_not_held(spool: Spool) -> None:
    tensor = torch.arange(600, dtype=torch.float32)
    first, _, third = pieces_of(tensor)
    parcel = Parcel.of({"x": tensor})

    spool.take(*first)
    spool.take(*third)

    assert spool.lacking("block", [parcel.tensors[0].sha256]) == [parcel.tensors[0].sha256]
    with pytest.raises(ProtocolError, match="came before 1 of its 1 tensors"):
        spool.open_held(parcel)


def test_piece_beyond_the_end_of_its_tensor_is_refused(spool: Spool) -> None:
    question, content = pieces_of(torch.ones(100))[0]
    beyond = tuple(one.model_copy(update={"offset": 300}) for one in question.segments)

    with pytest.raises(ProtocolError, match="which has no such place"):
        spool.take(question.model_copy(update={"segments": beyond}), content)


def test_piece_with_other_bytes_is_refused(spool: Spool) -> None:
    question, content = pieces_of(torch.arange(600))[0]

    with pytest.raises(ProtocolError, match="or other bytes, than the 1000 that were announced"):
        spool.take(question, content ^ 1)


def test_tensor_with_another_hash_is_dropped_when_it_is_whole(spool: Spool, tmp_path: Path) -> None:
    for question, content in pieces_of(torch.arange(100, dtype=torch.float32)):
        wrong = tuple(one.model_copy(update={"sha256": "0" * 64}) for one in question.segments)
        with pytest.raises(ProtocolError, match="has another hash than was announced"):
            spool.take(question.model_copy(update={"segments": wrong}), content)

    assert files(tmp_path / "spool" / "held") == []


def test_draft_is_not_given_before_the_door_has_let_it_out(spool: Spool) -> None:
    parcel = spool.draft({"x": torch.ones(3)})
    question = AskPiece(parcel=parcel.sha256, offset=0, length=12)

    with pytest.raises(ProtocolError, match="no answer that left this site's door has them"):
        spool.give(question)
    spool.let_out(parcel)

    assert torch.equal(spool.give(question), bytes_of(torch.ones(3)))


def test_full_disk_at_the_site_is_told(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/path")

    monkeypatch.setattr(Path, "mkdir", full)

    with pytest.raises(DataError, match="This site's disk is full") as told:
        spool.take(*pieces_of(torch.ones(10))[0])
    assert "/secret/path" not in str(told.value)


def test_full_disk_at_the_coordinator_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server_parcels.os, "posix_fallocate", full)

    answer = ask(SpoolGrid(tmp_path), tmp_path)

    assert answer.letter is None
    assert "The coordinator's disk is full" in answer.reason


@given(
    sizes=st.lists(st.integers(0, 3000), max_size=8), largest=st.integers(1, 2500), keep=st.integers(0, 255)
)
def test_pieces_hold_every_byte_that_is_lacking_once_and_in_order(
    sizes: list[int], largest: int, keep: int
) -> None:
    tensors = {f"t{n}": torch.full((size,), n, dtype=torch.uint8) for n, size in enumerate(sizes)}
    parcel = Parcel.of(tensors)
    lacking = {one.sha256 for n, one in enumerate(parcel.tensors) if keep >> n & 1}

    got: dict[str, list[tuple[int, int]]] = {}
    for piece in cut(parcel, lacking, largest=largest):
        assert 0 <= sum(one.length for one in piece) <= largest
        for one in piece:
            got.setdefault(one.sha256, []).append((one.offset, one.length))

    assert got.keys() == lacking
    for one in parcel.tensors:
        if one.sha256 in lacking:
            place = 0
            for offset, length in got[one.sha256]:
                assert offset == place
                place += length
            assert place == one.nbytes


# ---- a whole run ----------------------------------------------------------------------------------


@pytest.fixture
def whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[object, int], Rehearsal]:
    def rehearse(plan: object, largest: int) -> Rehearsal:
        monkeypatch.setattr(parcels, "LARGEST_MESSAGE", largest)
        return run(plan, grid=ListeningGrid)

    return rehearse


def test_run_in_pieces_ends_with_the_same_weights(whole: Callable[[object, int], Rehearsal]) -> None:
    plan = clinics_only("[rounds]\nrounds = 2", hospitals=2, patients=80)

    in_one, in_pieces = whole(plan, 10**9), whole(plan, 500)

    assert in_pieces.error is None
    assert not in_pieces.report.left_out
    assert in_pieces.weights_hash == in_one.weights_hash
    assert not in_one.asked(TakePiece)
    assert len(in_pieces.asked(TakePiece)) > 4
    assert len(in_pieces.asked(AskPiece)) > 4
    assert not list(in_pieces.sites.rglob("spool"))
    assert all(not one.letter.tensors for one in in_pieces.answered(Update))
    assert all(not read_letter(one.message).tensors for one in in_pieces.asked(AskBlockUpdate))


def test_secure_sum_in_pieces_ends_with_the_same_weights(whole: Callable[[object, int], Rehearsal]) -> None:
    in_one, in_pieces = whole(summing_plan(), 10**9), whole(summing_plan(), 500)

    assert in_pieces.error is None
    assert in_pieces.weights_hash == in_one.weights_hash
    assert len(in_pieces.asked(AskPiece)) > 4


# ---- in bfloat16 ------------------------------------------------------------------------------------

HALVED = "[rounds]\nrounds = 1\n[travel]\ndtype = 'bfloat16'"


@pytest.mark.parametrize("largest", [500, 10**9])
def test_weights_and_updates_travel_in_half_the_bytes(
    whole: Callable[[object, int], Rehearsal], largest: int
) -> None:
    plan = clinics_only(HALVED, hospitals=2, patients=80)

    ended = whole(plan, largest)

    assert ended.error is None
    assert not ended.report.left_out
    if largest > 500:
        (update, *_) = ended.answered(Update)
        assert {tensor.dtype for tensor in update.letter.tensors.values()} == {torch.bfloat16}
        (asked, *_) = ended.asked(AskBlockUpdate)
        assert torch.bfloat16 in {tensor.dtype for tensor in asked.letter.tensors.values()}
        assert torch.float32 not in {tensor.dtype for tensor in asked.letter.tensors.values()}
    assert {one.dtype for one in ended.checkpoint(1, "clinical").values()} >= {torch.float32}


SIZES = st.floats(min_value=2.0**-100, max_value=2.0**100, width=32)


@given(values=st.lists(SIZES | SIZES.map(float.__neg__), min_size=1))
def test_rounding_is_within_its_bound(values: list[float]) -> None:
    exact = torch.tensor(values, dtype=torch.float32)

    there = rounded({"x": exact}, torch.bfloat16)["x"].float()

    assert ((there - exact).abs() <= exact.abs() * 2.0**-8).all()


def test_plan_with_a_secure_sum_cannot_round() -> None:
    with pytest.raises(ValidationError, match="masked whole numbers, which cannot be rounded"):
        summing_plan(changes="[travel]\ndtype = 'bfloat16'")


def test_letter_that_announces_bfloat16_and_holds_none_is_refused(tmp_path: Path) -> None:
    def lying(_site: int, message: Message, answer: Answer) -> Message:
        reply = answer()
        reply.content.config_records["letter"]["bfloat16"] = ["weight"]
        return reply

    answer = ask(SpoolGrid(tmp_path, fault=lying), tmp_path, {"weight": torch.ones(3)})

    assert answer.letter is None
    assert "announced as bfloat16" in answer.reason
