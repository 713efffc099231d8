"""A log that cannot be changed unseen."""

import fcntl
import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from lego_core import chained_log
from lego_core.chained_log import ChainedLog, check_chain, verify_log
from lego_core.cli import app
from lego_core.errors import LogError


def written(path, count=4):
    log = ChainedLog(path)
    for number in range(count):
        log.append("spent", {"epsilon": number / 2, "site": "north"})
    return log


def test_what_was_appended_is_there_when_the_log_is_opened_again(tmp_path):
    log = written(tmp_path / "site" / "ledger.jsonl")

    again = ChainedLog(log.path)

    assert again.events == log.events
    assert [entry["epsilon"] for entry in again.events] == [0, 0.5, 1, 1.5]
    assert again.head == log.head
    again.append("spent", {"epsilon": 2})
    assert ChainedLog(log.path).events[-1]["number"] == 5


def test_nobody_else_may_read_it(tmp_path):
    log = written(tmp_path / "ledger.jsonl")

    assert stat.S_IMODE(os.stat(log.path).st_mode) == 0o600


@given(st.data())
def test_a_changed_byte_is_found(tmp_path_factory, data):
    log = written(tmp_path_factory.mktemp("log") / "ledger.jsonl")
    whole = bytearray(log.path.read_bytes())
    last = whole.rfind(b"\n", 0, len(whole) - 1)
    where = data.draw(st.integers(0, last - 1))
    whole[where] ^= data.draw(st.integers(1, 127))
    lines = bytes(whole).split(b"\n")[:-1]

    with pytest.raises(LogError, match="was changed: line"):
        check_chain(lines, name="ledger.jsonl")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], 2),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], 3),
        (lambda lines: [b"[]", *lines], 1),
        (lambda lines: [b"{}", *lines], 1),
    ],
)
def test_lines_taken_away_moved_or_added_are_found(tmp_path, change, line):
    log = written(tmp_path / "ledger.jsonl")
    lines = log.path.read_bytes().splitlines()
    log.path.write_bytes(b"\n".join(change(lines)) + b"\n")

    with pytest.raises(LogError, match=f"line {line} does not follow"):
        ChainedLog(log.path)


def test_a_line_without_an_end_is_taken_away_and_the_log_goes_on(tmp_path):
    log = written(tmp_path / "ledger.jsonl")
    with log.path.open("ab") as file:
        file.write(json.dumps({"number": 5}).encode()[:9])

    again = ChainedLog(log.path)
    again.append("spent", {"epsilon": 9})

    assert [entry["number"] for entry in ChainedLog(log.path).events] == [1, 2, 3, 4, 5]


def test_a_full_disk_leaves_no_half_line_and_is_said(tmp_path, monkeypatch):
    log = written(tmp_path / "ledger.jsonl")
    before = log.path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LogError, match=r"cannot be written.*No space left.*Make room"):
        log.append("spent", {"epsilon": 9})

    assert log.path.read_bytes() == before
    assert len(log.events) == 4


def test_a_folder_that_cannot_be_made_is_said_without_its_path(tmp_path):
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(LogError, match=r"'ledger\.jsonl' cannot be written") as caught:
        ChainedLog(tmp_path / "file" / "ledger.jsonl")
    assert str(tmp_path) not in caught.value.public


def test_a_folder_in_which_nothing_can_be_locked_is_said(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)

    with pytest.raises(LogError, match=r"'log\.jsonl' cannot be written \(No locks available\)"):
        ChainedLog(tmp_path / "log.jsonl")


def test_two_who_write_in_turns_make_one_chain(tmp_path):
    first, second = ChainedLog(tmp_path / "log.jsonl"), ChainedLog(tmp_path / "log.jsonl")

    for number in range(3):
        first.append("first", {"turn": number})
        second.append("second", {"turn": number})

    assert [entry["number"] for entry in ChainedLog(tmp_path / "log.jsonl").events] == [1, 2, 3, 4, 5, 6]


def test_the_file_is_not_read_again_where_nobody_else_has_written(tmp_path, monkeypatch):
    log = ChainedLog(tmp_path / "log.jsonl")
    looks = []

    def counted(lines, *, name):
        looks.append(len(lines))
        return check_chain(lines, name=name)

    monkeypatch.setattr(chained_log, "check_chain", counted)
    for number in range(20):
        log.append("round", {"round": number})
    assert looks == []
    ChainedLog(log.path).append("other", {})
    looks.clear()
    log.append("round", {"round": 20})

    assert looks == [21]
    assert len(ChainedLog(log.path).events) == 22


def test_a_line_changed_under_an_open_log_is_found_before_the_next(tmp_path):
    log = written(tmp_path / "log.jsonl")
    log.path.write_bytes(log.path.read_bytes().replace(b"north", b"south", 1))
    os.utime(log.path, ns=(0, 1))  # however coarse the clock of the file system is

    with pytest.raises(LogError, match="was changed: line 2"):
        log.append("spent", {"epsilon": 9})


def test_a_log_begun_anew_forgets_what_was_there(tmp_path):
    written(tmp_path / "log.jsonl")

    log = ChainedLog.anew(tmp_path / "log.jsonl")

    assert log.events == []
    log.append("first", {})
    assert ChainedLog(log.path).events[0]["number"] == 1
    (tmp_path / "folder").mkdir()
    with pytest.raises(LogError, match="'folder' cannot be written"):
        ChainedLog.anew(tmp_path / "folder")


def test_fields_do_not_stand_for_the_chain(tmp_path):
    log = ChainedLog(tmp_path / "log.jsonl")

    log.append("odd", {"number": 7, "previous": "me", "event": "other", "time": "never"})
    log.append("even", {})

    assert [entry["event"] for entry in ChainedLog(log.path).events] == ["odd", "even"]


@pytest.mark.parametrize("line", [b"", b"[" * 100_000, b"\xff", b"7"])
def test_what_is_no_line_is_found(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_bytes(line + b"\n")

    with pytest.raises(LogError, match="line 1 does not follow"):
        ChainedLog(path)


def test_a_log_that_was_taken_away_is_said(tmp_path):
    log = written(tmp_path / "log.jsonl")
    log.path.unlink()

    with pytest.raises(LogError, match="cannot be written"):
        log.append("spent", {})


def test_a_log_is_verified_without_being_touched(tmp_path):
    log = written(tmp_path / "ledger.jsonl")
    with log.path.open("ab") as file:
        file.write(b"half a line")
    before = log.path.read_bytes()

    events, head = verify_log(log.path)

    assert (events, head) == (log.events, log.head)
    assert log.path.read_bytes() == before


def test_lines_cut_off_at_the_end_are_found_by_who_noted_the_head(tmp_path):
    log = written(tmp_path / "ledger.jsonl")
    noted = log.head
    log.append("spent", {"epsilon": 9})
    assert verify_log(log.path, known_head=noted)[1] == log.head
    log.path.write_bytes(b"".join(line + b"\n" for line in log.path.read_bytes().splitlines()[:3]))

    assert len(verify_log(log.path)[0]) == 3
    with pytest.raises(LogError, match=r"holds 3 lines.*none of them is the one.*cut off"):
        verify_log(log.path, known_head=noted)


def test_the_command_says_whether_a_log_holds(tmp_path):
    log = written(tmp_path / "ledger.jsonl")

    whole = CliRunner().invoke(app, ["verify-log", str(log.path)])
    log.path.write_bytes(log.path.read_bytes().replace(b"north", b"south", 1))
    changed = CliRunner().invoke(app, ["verify-log", str(log.path)])
    absent = CliRunner().invoke(app, ["verify-log", str(tmp_path / "none")])

    assert (whole.exit_code, changed.exit_code, absent.exit_code) == (0, 2, 2)
    assert "4 lines follow" in whole.output
    assert log.head in whole.output
    assert "was changed: line 2" in changed.output
    assert "cannot be read" in absent.output
