"""A run whose server died goes on where it was: the same weights, and nothing asked that was answered."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from crashes import Attempts, Killed, KilledError, Snapshots
from faults import at_sites, raising, worse_every_round
from flwr.app import Message
from rehearsal import Rehearsal
from tiny_plans import group, patients_of, tiny_plan
from typer.testing import CliRunner

from client.records import read_letter
from lego_core.chained_log import verify_log
from lego_core.cli import app as fedlego
from lego_core.errors import LogError, RunError
from lego_core.plan import RunPlan
from lego_core.protocol import AskBlockUpdate, AskFuseUpdate, AskGrams, AskOffer, AskReport, AskStatistics
from lego_core.sealed_file import SealingKey

GROUPS = (
    group("clinic", "clinical"),
    group("lab", "blood"),
    group("teaching", "clinical", "blood", share=2, split=(0.4, 0.2, 0.4)),
)
CLINIC, LAB, TEACHING = range(3)
CHANGES = """
[rounds]
rounds = 3
patience = 9
[fuse]
rounds = 2
[aggregation]
kind = "fedadam"
[merging]
heads = { kind = "regmean" }
"""
BLOCK, FUSE, REPORT = AskBlockUpdate.kind, AskFuseUpdate.kind, AskReport.kind
PHASES = {
    "in the agreement": (AskStatistics.kind, 0),
    "in the second round": (BLOCK, 2),
    "while the last weights are scored": (BLOCK, 6),
    "in the merge": (AskGrams.kind, 1),
    "in the second fuse round": (FUSE, 1),
    "in the evaluation": (REPORT, 0),
}


def hospitals_plan(changes: str = "") -> RunPlan:
    """Three hospitals; a run that remembers much from round to round."""
    return tiny_plan(f"{CHANGES}\n{changes}\n{patients_of(*GROUPS, patients=140)}")


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Attempts]:
    """A run that broke off in some phase; each time a copy of its own."""
    attempts = Attempts.of(hospitals_plan(), tmp_path_factory.mktemp("run"))
    snapshots = Snapshots(attempts, tmp_path_factory.mktemp("killed"), wanted=list(PHASES.values()))
    attempts.run(snapshots)
    return lambda phase: snapshots.taken[PHASES[phase]].copy(tmp_path_factory.mktemp("copy") / "run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """The same run, uninterrupted."""
    return Attempts.of(hospitals_plan(), tmp_path_factory.mktemp("whole")).run()


# ---- the same run ----------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", PHASES)
def test_a_resumed_run_ends_with_the_same_weights(
    broken_off: Callable[[str], Attempts], whole: Rehearsal, phase: str
) -> None:
    ended = broken_off(phase).run(resume=True)

    assert ended.error is None
    assert ended.weights_hash == whole.weights_hash
    assert ended.results == whole.results
    assert ended.report.rounds == whole.report.rounds
    assert ended.report.kept_rounds == whole.report.kept_rounds
    assert ended.report.status == whole.report.status == "complete"
    (resumed,) = [one for one in ended.events if one["event"] == "resumed"]
    assert [one.checkpoint for one in ended.report.resumed] == [resumed["checkpoint"]]
    verify_log(ended.output / "run.jsonl")


def test_what_was_finished_is_not_asked_again(broken_off: Callable[[str], Attempts]) -> None:
    ended = broken_off("in the second fuse round").run(resume=True)

    kinds = {one.letter.kind for one in ended.wire.asked}
    assert kinds == {AskOffer.kind, FUSE, REPORT}
    rounds = [AskFuseUpdate.read(one.letter).round for one in ended.asked(AskFuseUpdate)]
    assert rounds == [2, 3]


@pytest.mark.slow
def test_once_the_scores_are_there_nobody_is_asked_any_more(whole: Rehearsal, tmp_path: Path) -> None:
    attempts = Attempts.of(hospitals_plan(), tmp_path / "run")
    attempts.run()
    lines = (attempts.output / "run.jsonl").read_bytes().splitlines(keepends=True)
    last = next(number for number, line in enumerate(lines) if b'"evaluated"' in line)
    (attempts.output / "run.jsonl").write_bytes(b"".join(lines[: last + 1]))

    ended = attempts.run(resume=True)

    assert not ended.wire.asked
    assert ended.weights_hash == whole.weights_hash
    assert ended.results == whole.results
    assert [one.site for one in ended.report.sites] == ["clinic", "lab", "teaching"]


@pytest.mark.slow
def test_a_run_is_resumed_as_often_as_it_breaks_off(tmp_path: Path, whole: Rehearsal) -> None:
    attempts = Attempts.of(hospitals_plan(), tmp_path / "run")
    for number, killed in enumerate((Killed(BLOCK, 3), Killed(BLOCK, 1), Killed(FUSE, 1))):
        with pytest.raises(KilledError):
            attempts.run(killed, resume=number > 0)

    ended = attempts.run(resume=True)

    assert ended.weights_hash == whole.weights_hash
    assert len(ended.report.resumed) == 3
    page = (ended.output / "report.html").read_text()
    assert "broke off and was resumed 3 times" in page


@pytest.mark.slow
def test_rounds_that_were_taken_back_and_losses_that_rose_are_remembered(tmp_path: Path) -> None:
    plan = hospitals_plan("[guard]\nworst-rise = 0.1")
    whole = Attempts.of(plan, tmp_path / "whole").run(worse_every_round)
    attempts = Attempts.of(plan, tmp_path / "run")
    with pytest.raises(KilledError):
        attempts.run(Killed(BLOCK, 5, worse_every_round))

    ended = attempts.run(worse_every_round, resume=True)

    assert [one for one in whole.events if one["event"] == "taken-back"]
    assert ended.weights_hash == whole.weights_hash
    assert ended.report.kept_rounds == whole.report.kept_rounds


@pytest.mark.slow
def test_a_run_that_failed_for_want_of_sites_goes_on_when_they_are_back(
    tmp_path: Path, whole: Rehearsal
) -> None:
    attempts = Attempts.of(hospitals_plan(), tmp_path / "run")
    failed = attempts.run(at_sites({AskFuseUpdate: {TEACHING: raising}}))

    ended = attempts.run(resume=True)

    assert "resume the run when they are back" in str(failed.error)
    assert failed.report.status == "failed"
    assert ended.weights_hash == whole.weights_hash
    assert ended.report.status == "complete"
    assert not (ended.output / "report.json").exists()


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
from crashes import Attempts, KilledError
from lego_core.plan import RunPlan

def fault(site, message, answer):
    global left
    reply = answer()
    left -= message.metadata.message_type == sys.argv[2]
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return reply

left, folder = int(sys.argv[3]), Path(sys.argv[1])
Attempts(RunPlan.load(folder / "sites" / "plan.toml"), folder).run(fault)
"""


def test_a_process_that_was_killed_is_resumed_by_another(tmp_path: Path, whole: Rehearsal) -> None:
    attempts = Attempts.of(hospitals_plan(), tmp_path / "run")
    paths = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

    killed = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(attempts.folder), BLOCK, "3", *paths], timeout=120, check=False
    )

    assert killed.returncode == -signal.SIGKILL
    assert attempts.checkpoints[-1].name == "0003-blocks-round-001"
    assert attempts.run(resume=True).weights_hash == whole.weights_hash


# ---- the log ---------------------------------------------------------------------------------------


def test_a_line_that_was_being_written_is_cut_off_and_told(broken_off: Callable[[str], Attempts]) -> None:
    attempts = broken_off("in the second round")
    log = attempts.output / "run.jsonl"
    with log.open("ab") as file:
        file.write(b'{"event": "answ')

    ended = attempts.run(resume=True)

    (resumed,) = [one for one in ended.events if one["event"] == "resumed"]
    assert resumed["torn_bytes"] == 15
    assert resumed["checkpoint"] == "0003-blocks-round-001"
    assert ended.events[resumed["number"] - 2 - resumed["lines_done_again"]]["event"] == "round-finished"
    told = CliRunner().invoke(fedlego, ["verify-log", str(log)])
    assert told.exit_code == 0
    assert f"Line {resumed['number']}" in told.output
    assert "the run was resumed from 0003-blocks-round-001" in told.output
    assert "15 bytes of a line without an end were cut off" in told.output


def test_a_log_that_was_changed_or_cut_off_is_not_gone_on_with(
    broken_off: Callable[[str], Attempts],
) -> None:
    attempts = broken_off("in the second round")
    log = attempts.output / "run.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)

    log.write_bytes(b"".join(lines[:4]))
    with pytest.raises(LogError, match=r"'run\.jsonl' holds 4 lines.*was cut off or written anew"):
        attempts.run(resume=True)
    log.write_bytes(b"".join([lines[0].replace(b"no-privacy", b"patient-dp"), *lines[1:]]))
    with pytest.raises(LogError, match=r"line 2 does not follow"):
        attempts.run(resume=True)


# ---- checkpoints that do not hold ------------------------------------------------------------------


def changed_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    broken_off: Callable[[str], Attempts], whole: Rehearsal
) -> None:
    attempts = broken_off("in the second fuse round")
    before, last = attempts.checkpoints
    changed_byte(last / "fused.safetensors")

    ended = attempts.run(resume=True)

    (damaged,) = [one for one in ended.events if one["event"] == "checkpoint-damaged"]
    (resumed,) = [one for one in ended.events if one["event"] == "resumed"]
    assert damaged["checkpoint"] == last.name
    assert "'fused.safetensors' is not there, or not as it was written" in damaged["reason"]
    assert resumed["checkpoint"] == before.name
    assert ended.weights_hash == whole.weights_hash
    assert ended.report.rounds == whole.report.rounds


def test_without_any_checkpoint_that_holds_the_run_is_refused(broken_off: Callable[[str], Attempts]) -> None:
    attempts = broken_off("in the second round")
    for folder in attempts.checkpoints:
        (folder / "checkpoint.json").write_bytes(b"{")
    log = (attempts.output / "run.jsonl").read_bytes()

    with pytest.raises(
        RunError, match=r"None of the 2 checkpoints in 'output' can be used\. .*is damaged.*begin"
    ):
        attempts.run(resume=True)

    assert (attempts.output / "run.jsonl").read_bytes() == log


@pytest.mark.slow
def test_sealed_checkpoints_are_resumed_with_their_key_and_no_other(tmp_path: Path, whole: Rehearsal) -> None:
    attempts = Attempts.of(hospitals_plan(), tmp_path / "run")
    keys = {name: str(tmp_path / name) for name in ("own.key", "other.key")}
    for path in keys.values():
        SealingKey.make(Path(path))
    with pytest.raises(KilledError):
        attempts.run(Killed(BLOCK, 3), checkpoint_key=keys["own.key"])

    with pytest.raises(RunError, match=r"None of the 2 checkpoints.*the key is another one"):
        attempts.run(resume=True, checkpoint_key=keys["other.key"])
    with pytest.raises(RunError, match=r"None of the 2 checkpoints.*were expected without a key"):
        attempts.run(resume=True)
    ended = attempts.run(resume=True, checkpoint_key=keys["own.key"])

    assert ended.weights_hash == whole.weights_hash
    assert len(ended.report.resumed) == 1


# ---- what is another run, or none ------------------------------------------------------------------


def test_another_plan_is_refused_with_both_values(broken_off: Callable[[str], Attempts]) -> None:
    attempts = broken_off("in the second round")
    plan = attempts.folder / "sites" / "plan.toml"

    plan.write_text(plan.read_text().replace("seed = 3", "seed = 4"))
    with pytest.raises(RunError, match=r"SHA-256 of the plan '\w{64}', and now there is '\w{64}'") as odd:
        attempts.run(resume=True)

    assert "Nothing was changed" in str(odd.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("version", "0.0.9", r"began with version '0\.0\.9', and now there is '0\.1\.0'"),
        ("modalities", ["clinical"], r"modalities \('clinical',\), and now there is \('clinical', 'blood'\)"),
        ("roster_sha256", "0" * 64, r"SHA-256 of the roster '0{64}', and now there is None"),
        ("plan", "other", r"began with plan 'other', and now there is 'tiny'"),
    ],
)
def test_what_makes_a_run_another_is_told(
    broken_off: Callable[[str], Attempts], key: str, value: object, said: str
) -> None:
    attempts = broken_off("in the second round")
    for folder in attempts.checkpoints:
        file = folder / "checkpoint.json"
        contents = json.loads(file.read_text().splitlines()[0])
        contents["state"]["identity"][key] = value
        line = json.dumps(contents)
        file.write_text(f"{line}\n{hashlib.sha256(line.encode()).hexdigest()}\n")

    with pytest.raises(RunError, match=said):
        attempts.run(resume=True)


def test_a_complete_run_has_nothing_to_resume(tmp_path: Path) -> None:
    attempts = Attempts.of(hospitals_plan(), tmp_path / "run")
    ended = attempts.run()
    log = (attempts.output / "run.jsonl").read_bytes()

    with pytest.raises(RunError, match=r"is complete since 20.*there is nothing to resume\. Its bundle"):
        attempts.run(resume=True)

    assert (attempts.output / "run.jsonl").read_bytes() == log
    assert ended.bundle.report.status == "complete"


def test_where_no_run_was_there_is_none_to_resume(tmp_path: Path) -> None:
    attempts = Attempts.of(hospitals_plan(), tmp_path / "run")

    with pytest.raises(
        RunError, match=r"There is no run to resume in 'output'.*begin a new one without resume"
    ):
        attempts.run(resume=True)

    assert list(attempts.output.iterdir()) == []


# ---- who is there --------------------------------------------------------------------------------


@pytest.mark.slow
def test_who_does_not_come_back_is_absent_and_the_others_go_on(
    broken_off: Callable[[str], Attempts],
) -> None:
    def without_lab(site: int, message: Message, answer: Callable[[], Message]) -> Message | None:
        return answer() if site != LAB else raising(message, answer)

    attempts = broken_off("in the second fuse round")
    ended = attempts.run(without_lab, resume=True)

    assert ended.error is None
    assert ended.report.status == "complete-with-absences"
    assert (
        "took part before the run was resumed, and is not there now"
        in ended.left_out("lab", phase="offer")[0].reason
    )
    assert [one.site for one in ended.report.sites] == ["clinic", "lab", "teaching"]


def test_who_comes_back_later_takes_part_again(
    broken_off: Callable[[str], Attempts], whole: Rehearsal
) -> None:
    def late(site: int, message: Message, answer: Callable[[], Message]) -> Message | None:
        is_offer = message.metadata.message_type == AskOffer.kind
        return raising(message, answer) if is_offer and site == TEACHING else answer()

    ended = broken_off("in the second fuse round").run(late, resume=True)

    assert ended.weights_hash == whole.weights_hash
    assert ended.report.rounds[-1].answered == ("teaching",)
    assert ended.report.status == "complete-with-absences"


def test_a_site_that_comes_back_with_other_data_takes_no_part(
    broken_off: Callable[[str], Attempts],
) -> None:
    attempts = broken_off("in the second round")
    (table,) = (attempts.sites[CLINIC]).glob("clinical.*")
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[: len(lines) // 2]))

    ended = attempts.run(resume=True)

    reasons = " ".join(one.reason for one in ended.left_out("clinic"))
    assert "offers other data than before the run was resumed: 'clinical', patients" in reasons
    assert "Put the data back and resume again" in reasons
    assert ended.report.status == "failed"
    assert "0 of 1 sites gave a usable answer" in ended.report.reason


@pytest.mark.slow
def test_sites_train_the_same_whatever_they_did_before(whole: Rehearsal, tmp_path: Path) -> None:
    """A site's training is a function of seed, round and weights, not of what its process did before."""
    attempts = Attempts.of(hospitals_plan(), tmp_path / "run")

    def unsettled(site: int, message: Message, answer: Callable[[], Message]) -> Message | None:
        torch.manual_seed(len(read_letter(message).body))
        torch.rand(7)
        return answer()

    assert attempts.run(unsettled).weights_hash == whole.weights_hash
