"""The command line, its progress, and the processes it starts."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from lego_core.errors import RunError
from lego_core.report.progress import Diary, RunState, Watch
from simulations import processes
from simulations.cli import app
from simulations.flower import Flower, stage_app
from simulations.processes import environment, marked, program, stop_marked
from simulations.run import make_room, on_disk

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
PARENT_THAT_LEAVES = [
    sys.executable,
    "-c",
    f"import subprocess; subprocess.Popen({SLEEP!r}, start_new_session=True)",
]


def write(path: Path, *events: dict[str, object]) -> None:
    with path.open("a") as lines:
        lines.writelines(json.dumps(event) + "\n" for event in events)


def test_an_unknown_plan_is_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["sites", "no-such-plan", "--output", str(tmp_path / "out")])

    assert done.exit_code == 2
    assert done.stderr.startswith("There is no shipped plan 'no-such-plan'. The plans are [")
    assert "Traceback" not in done.stderr


def test_site_folders_can_be_made_of_a_plan_file_with_another_seed(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "simulations" / "plans" / "two-hospitals.toml"
    own = tmp_path / "own.toml"
    own.write_text(shipped.read_text())
    out = tmp_path / "out"

    done = CliRunner().invoke(app, ["sites", str(own), "--output", str(out), "--seed", "9"])

    assert done.exit_code == 0
    assert "laboratory" in done.stdout
    assert "seed = 9\n" in (out / "plan.toml").read_text()


def test_the_plans_are_listed() -> None:
    done = CliRunner().invoke(app, ["plans"])

    assert done.exit_code == 0
    assert "two-hospitals" in done.stdout


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").touch()

    with pytest.raises(RunError, match="is not empty"):
        make_room(tmp_path, overwrite=False)


def test_overwriting_replaces_an_earlier_rehearsal(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").touch()

    make_room(tmp_path, overwrite=True)

    assert list(tmp_path.iterdir()) == []


def test_overwriting_spares_files_that_no_rehearsal_has_written(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(RunError, match="holds files that no rehearsal has written"):
        make_room(tmp_path, overwrite=True)

    assert (tmp_path / "thesis.tex").exists()


def test_where_no_rehearsal_was_none_is_resumed(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["run", "pbc", "--output", str(tmp_path), "--resume"])

    assert done.exit_code == 2
    assert "There is no rehearsal to resume" in " ".join(done.stderr.split())
    assert "it has no 'sites/plan.toml'. Name its folder with --output" in " ".join(done.stderr.split())


def test_progress_of_a_resumed_run_goes_on() -> None:
    state = RunState()
    state.take({"event": "offer", "site": "clinic", "modalities": {"clinical": 10}})
    state.take({"event": "finished", "status": "failed", "reason": "The power went off."})

    said = state.take({"event": "resumed", "checkpoint": "0003-blocks-round-001"})

    assert said == "the run goes on from checkpoint 0003-blocks-round-001"
    assert not state.ended
    assert (state.reason, state.sites) == ("", 0)


def test_what_is_on_the_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").touch()

    assert on_disk(tmp_path) == [f"the diary: {tmp_path / 'run.jsonl'}"]


def test_a_diary_is_read_as_it_grows_each_line_once(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    diary = Diary(path)
    assert diary.new_events() == []
    write(path, {"event": "a"})
    with path.open("a") as lines:
        lines.write('{"event": ')

    first = diary.new_events()
    with path.open("a") as lines:
        lines.write('"b"}\n')

    assert [event["event"] for event in first] == ["a"]
    assert [event["event"] for event in diary.new_events()] == ["b"]
    assert diary.new_events() == []


def test_progress_follows_the_rounds(tmp_path: Path) -> None:
    started = {"event": "round-started", "phase": "blocks", "round": 2, "rounds": 9, "asked": [["x", "rna"]]}
    finished = {
        "event": "round-finished", "phase": "blocks", "round": 2, "modality": "rna",
        "validation_loss": 0.5, "best_round": 1, "answered": ["x"], "asked": ["x"],
    }  # fmt: skip
    state = RunState()

    lines = [state.take(event) for event in (started, finished)]

    assert lines == ["", "rna round 2 of 9: 1 of 1 sites, validation loss 0.500"]
    assert state.phase == "training blocks"
    assert state.blocks["rna"].best_round == 1


def test_progress_tells_who_is_waited_for_until_they_answer() -> None:
    state = RunState()
    waiting = {"event": "waiting", "phase": "fuse", "round": 1, "for": ["east"], "seconds": 5}

    state.take(waiting)
    waited_for = state.waiting_for
    state.take({"event": "merged", "modalities": ["rna"]})

    assert waited_for == ("east",)
    assert state.waiting_for == ()


def test_progress_on_a_terminal_shows_every_block(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    write(path, {"event": "offer", "site": "east", "modalities": {"rna": 20}})
    write(
        path,
        {"event": "round-started", "phase": "fuse", "round": 1, "rounds": 2, "asked": [["east", "fused"]]},
    )
    write(path, {"event": "left-out", "site": "west", "reason": "asleep"})
    console = Console(force_terminal=True, width=80, record=True)

    with Watch(path, console) as watch:
        watch.look()

    shown = console.export_text()
    assert "fusing, 1 sites" in shown
    assert "fused" in shown
    assert "left out: west" in shown


def test_progress_in_a_pipe_prints_a_line_per_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.jsonl"

    with Watch(path, Console(width=80)) as watch, watch.looking():
        write(path, {"event": "offer", "site": "east", "modalities": {"rna": 20}})
        write(path, {"event": "finished", "status": "failed", "reason": "nobody came", "bundle": ""})

    assert "site east offers rna of 20 patients" in capsys.readouterr().out
    assert watch.state.ended
    assert watch.state.reason == "nobody came"


def test_processes_are_stopped_even_if_their_parent_has_gone() -> None:
    mark = "test-orphan"
    subprocess.run(PARENT_THAT_LEAVES, env=environment(mark, {}), check=True)
    assert len(marked(mark)) == 1

    stop_marked(mark, patience_seconds=0.5)

    assert marked(mark) == []


def test_processes_that_survive_everything_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = "test-survivor"
    with subprocess.Popen(SLEEP, env=environment(mark, {})) as process:
        monkeypatch.setattr(processes, "_send", lambda signal, process: None)

        with pytest.raises(RunError, match=rf"1 processes of this run .* with ids \[{process.pid}\]"):
            stop_marked(mark, patience_seconds=0.1)

        process.kill()


def test_a_program_that_is_not_installed_is_named() -> None:
    with pytest.raises(RunError, match="The program 'no-such-flower' is not installed here"):
        program("no-such-flower")


def test_flower_that_has_ended_is_noticed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as process:
        process.wait()

    with pytest.raises(RunError, match="ended by itself with code 3"):
        Flower(process, tmp_path, {}, "127.0.0.1:1").status("1")


def test_flower_that_does_not_listen_in_time_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulations.flower.START_SECONDS", 0.1)
    with subprocess.Popen(SLEEP) as process:
        with pytest.raises(RunError, match=r"did not start within 0\.1 seconds"):
            Flower(process, tmp_path, {}, "127.0.0.1:1").wait_until_ready(1)
        process.kill()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("no JSON at all", "gave no readable answer to 'flwr ls'"),
        ('{"success": false, "error-message": "no"}', "Flower refuses 'flwr ls'"),
    ],
)
def test_answers_of_flower_that_help_nobody_are_errors(
    answer: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "flwr"
    fake.write_text(f"#!/bin/sh\necho '{answer}'\n")
    fake.chmod(0o755)
    monkeypatch.setattr("simulations.flower.program", lambda name: str(tmp_path / name))
    with subprocess.Popen(SLEEP) as process:
        with pytest.raises(RunError, match=sentence):
            Flower(process, tmp_path, {}, "127.0.0.1:1").status("1")
        process.kill()


def test_the_copy_of_the_code_holds_what_runs_and_no_tests(tmp_path: Path) -> None:
    staged = stage_app(tmp_path / "app")

    here = {path.name for path in staged.iterdir()}
    assert {"pyproject.toml", "LICENSE", "server", "client", "lego_core", "simulations"} <= here
    assert not {"tests", "README.md", ".git"} & here
    assert [path.name for path in (staged / "simulations").iterdir()] == ["plans"]
    assert not list(staged.rglob("__pycache__"))


def test_watching_a_run_does_not_bring_flower() -> None:
    code = "import sys, simulations.cli; print({'flwr', 'ray'} & set(sys.modules))"

    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert done.stdout.strip() == "set()"


def test_stopping_waits_for_processes_that_end_by_themselves() -> None:
    mark = "test-quick"
    with subprocess.Popen([sys.executable, "-c", "pass"], env=environment(mark, {})) as process:
        started = time.monotonic()

        stop_marked(mark, patience_seconds=10)

        assert time.monotonic() - started < 8
        assert not psutil.pid_exists(process.pid) or process.poll() == 0
