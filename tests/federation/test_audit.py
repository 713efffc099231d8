"""The records of a run: chained at both ends, complete, and without any of the data."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from rehearsal import Rehearsal, Run
from tiny_plans import group, patients_of, tiny_plan, with_survival
from typer.testing import CliRunner

from client.records import read_letter
from lego_core.chained_log import verify_log
from lego_core.cli import app as fedlego
from lego_core.errors import LogError
from lego_core.letters import Letter
from lego_core.protocol import AskOffer, Offer, Refusal, Update
from lego_core.report.progress import Diary
from simulations.in_process import FIRST_NODE_ID, RUN_ID, SERVER_NODE_ID, InProcessGrid
from simulations.make_sites import make_sites

ROOT = Path(__file__).parents[2]
HOSPITALS = patients_of(group("clinic", "clinical", share=2), group("lab", "blood"), patients=90)
PLAN = with_survival(tiny_plan("[rounds]\nrounds = 2\n" + HOSPITALS))

ASK_WITH_LITTLE_ROOM = """
import resource, signal, sys
sys.path[:0] = ["tests/federation"]
from pathlib import Path
from test_audit import ask_for_offer
folder, room = Path(sys.argv[1]), int(sys.argv[2])
import flwr.clientapp, torch  # whatever is written while they are imported
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
letter = ask_for_offer(folder)
sys.stdout.write(letter.kind + " " + letter.body)
"""


@pytest.fixture(scope="module")
def ended(run: Run) -> Rehearsal:
    rehearsed = run(PLAN)
    assert rehearsed.error is None
    return rehearsed


@pytest.fixture
def sites(tmp_path: Path) -> Path:
    make_sites(PLAN, tmp_path / "sites")
    return tmp_path / "sites"


def ask_for_offer(sites: Path) -> Letter:
    """What the first site answers."""
    grid = InProcessGrid(2, run_config={"plan": PLAN.name, "sites-dir": str(sites), "output": "out"})
    letter = AskOffer().letter()
    records = {
        "letter": ConfigRecord({"kind": letter.kind, "body": letter.body}),
        "tensors": ArrayRecord({}),
    }
    question = Message(RecordDict(records), dst_node_id=FIRST_NODE_ID, message_type=letter.kind)
    (reply,) = grid.send_and_receive([question])
    return read_letter(reply)


def audit(sites: Path, number: int = 0) -> Path:
    return sites / f"site-{number}" / "audit.jsonl"


# ---- the server ----------------------------------------------------------------------------------------


def test_diary_of_a_run_holds(ended):
    events, head = verify_log(ended.output / "run.jsonl")

    assert events[0]["event"] == "run-started"
    assert events[-1]["event"] == "finished"
    assert verify_log(ended.output / "run.jsonl", known_head=head)[0] == events == ended.events
    assert CliRunner().invoke(fedlego, ["verify-log", str(ended.output / "run.jsonl")]).exit_code == 0


def test_a_changed_byte_in_the_diary_is_found(ended, tmp_path):
    copy = tmp_path / "run.jsonl"
    copy.write_bytes((ended.output / "run.jsonl").read_bytes().replace(b'"round": 1', b'"round": 2', 1))

    with pytest.raises(LogError, match=r"'run\.jsonl' was changed: line"):
        verify_log(copy)


def test_who_watches_a_run_reads_the_same_events(ended):
    assert list(Diary(ended.output / "run.jsonl").new_events()) == ended.events


# ---- the site ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
def test_every_answer_of_a_site_stands_in_its_own_log(ended, number):
    events, _ = verify_log(audit(ended.sites, number))
    told = [event for event in events if event["event"] == "sent"]

    sent = [one.letter for one in ended.wire.answered if one.site == number]
    assert [one["letter"] for one in told] == [letter.kind for letter in sent]
    assert len(told) > 4
    assert [one["bytes"] for one in told] == [
        len(letter.body) + sum(tensor.nbytes for tensor in letter.tensors.values()) for letter in sent
    ]
    assert {(one["run"], one["asked_by"]) for one in told} == {(str(RUN_ID), str(SERVER_NODE_ID))}
    assert [one["question"] for one in told if one["letter"] == Update.kind] == ["train.block"] * 2


def test_what_left_is_told_by_names_and_shapes_each_form_once(ended):
    events, _ = verify_log(audit(ended.sites))
    forms = {event["form"]: event["tensors"] for event in events if event["event"] == "form"}
    sent = [one.letter for one in ended.wire.answered if one.site == 0]

    told = [forms[event["form"]] for event in events if event["event"] == "sent"]

    assert told == [
        {name: f"{tensor.dtype} {tuple(tensor.shape)}" for name, tensor in letter.tensors.items()}
        for letter in sent
    ]
    assert len(forms) == sum(event["event"] == "form" for event in events) < len(told)


def test_only_who_asked_and_what_form_left_stands_in_the_log_of_a_site(ended):
    text = audit(ended.sites).read_text()
    allowed = {"number", "time", "previous", "event", "run", "question", "asked_by", "letter", "form",
               "bytes", "tensors"}  # fmt: skip

    assert {key for line in text.splitlines() for key in json.loads(line)} == allowed


def test_a_refusal_stands_there_with_its_sentence(sites):
    (sites / "site-0" / "patients.csv").unlink()

    refusal = Refusal.read(ask_for_offer(sites))

    (event,) = verify_log(audit(sites))[0]
    assert event["event"] == "refused"
    assert (event["public"], event["declined"]) == (refusal.public, False)
    assert event["question"] == "query.offer"
    assert str(sites) not in audit(sites).read_text()


def test_a_site_whose_log_was_changed_sends_nothing_more(sites):
    ask_for_offer(sites)
    before = audit(sites).read_bytes().replace(b"query.offer", b"query.other", 1)
    audit(sites).write_bytes(before + b"{}\n")

    letter = ask_for_offer(sites)

    assert "'audit.jsonl' was changed: line 3" in Refusal.read(letter).public
    assert audit(sites).read_bytes() == before + b"{}\n"


def test_an_answer_that_cannot_be_written_down_does_not_leave(sites):
    audit(sites).mkdir()

    letter = ask_for_offer(sites)

    assert "'audit.jsonl' cannot be written" in Refusal.read(letter).public
    assert str(sites) not in letter.body


@pytest.mark.parametrize(("room", "kind"), [(1_000_000, Offer.kind), (300, Refusal.kind), (0, Refusal.kind)])
def test_a_full_disk_under_the_log_keeps_the_answer_in(sites, room, kind):
    ask_for_offer(sites)  # what the run began with is noted, while there is room
    audit(sites).unlink()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK_WITH_LITTLE_ROOM, str(sites), str(room)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    said, _, body = done.stdout.partition(" ")
    assert said == kind, done.stderr
    if kind == Refusal.kind:
        assert "'audit.jsonl' cannot be written (File too large)" in body
        assert "Make room on the disk" in body
        left = audit(sites).read_bytes()
        assert left == b"" or left.endswith(b"\n")  # no half line
    verify_log(audit(sites))
