"""The status in a terminal, and what it ends with."""

import json
from pathlib import Path

import pytest
from seeing_logs import asked_of_round, begun, one_round, whole_run, write_log
from typer.testing import CliRunner

from deploy.seeing.cli import app

RUNNER = CliRunner(env={"COLUMNS": "120", "TERM": "dumb"})


def status(folder: Path, *options: str, events: list) -> tuple[int, str]:
    write_log(folder, events)
    done = RUNNER.invoke(app, ["status", str(folder), *options])
    return done.exit_code, done.output


def test_a_run_that_goes_on(tmp_path: Path) -> None:
    code, said = status(tmp_path, events=[*begun(), *one_round(1), *asked_of_round(2)])

    assert code == 0
    assert "training blocks, round 2 of 3" in said
    assert "3 of 3 sites online" in said
    assert "waiting for clinic-1, clinic-2, lab: " in said
    assert "of at most 1 min 40 s" in said
    assert "more at most" in said
    assert "epsilon spent of 8" in said
    assert "1.50" in said
    assert "Site clinic-2 declines of clinical (blocks 1)" in said


def test_the_last_sentence_of_a_site_that_is_not_here(tmp_path: Path) -> None:
    _, said = status(tmp_path, events=[*begun(), *one_round(1)])

    assert "clinic-2: Site 'clinic-2' takes no part on Tuesdays." in said


def test_sites_that_have_no_name_yet_are_counted(tmp_path: Path) -> None:
    _, said = status(tmp_path, events=begun()[:3])

    assert "waiting for 3 sites without a name yet" in said
    assert "node-1" not in said


def test_a_run_that_is_complete(tmp_path: Path) -> None:
    code, said = status(tmp_path, events=whole_run())

    assert code == 0
    assert "complete" in said
    assert "Recommended: the merged model." in said
    assert "waiting" not in said


def test_a_run_that_failed_ends_with_one(tmp_path: Path) -> None:
    code, said = status(tmp_path, events=whole_run(status="failed"))

    assert code == 1
    assert "failed" in said
    assert "A reason." in said


def test_a_run_that_stands_still_ends_with_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.seeing.clock.PATIENCE", -1e6)

    code, said = status(tmp_path, events=[*begun(), *one_round(1)])

    assert code == 3
    assert "stalled" in said
    assert "look whether the coordinator still runs" in said


def test_no_run_ends_with_two(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["status", str(tmp_path)])

    assert done.exit_code == 2
    assert "There is no 'run.jsonl'" in done.output


def test_a_broken_chain_is_told_with_its_line(tmp_path: Path) -> None:
    path = write_log(tmp_path, whole_run())
    path.write_bytes(path.read_bytes().replace(b'"clinical": 40', b'"clinical": 99', 1))

    done = RUNNER.invoke(app, ["status", str(tmp_path)])

    assert "The run log does not hold: line 7." in done.output


def test_json_is_for_machines(tmp_path: Path) -> None:
    code, said = status(tmp_path, "--json", events=[*begun(), *one_round(1), *asked_of_round(2)])
    told = json.loads(said)

    assert code == 0
    assert (told["status"], told["phase"], told["round"], told["rounds"]) == ("running", "blocks", 2, 3)
    assert told["waiting"] == ["clinic-1", "clinic-2", "lab"]
    assert told["sites"]["lab"]["epsilon"] == 1.5
    assert told["sites_online"] == 3


def test_watching_ends_with_the_run(tmp_path: Path) -> None:
    code, said = status(tmp_path, "--watch", events=whole_run())

    assert code == 0
    assert "Recommended: the merged model." in said
