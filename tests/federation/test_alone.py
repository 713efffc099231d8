"""Two servers never write to one run's folder."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crashes import Attempts
from tiny_plans import tiny_plan

from lego_core.errors import RunError
from server.alone import alone_in

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from server.alone import alone_in

with alone_in(Path(sys.argv[1])):
    print("here", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def another(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A server in another process, at work in the folder `output`."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "output")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        yield process
        process.kill()


def test_a_folder_in_which_a_server_works_is_refused_and_left_as_it_is(
    another: subprocess.Popen[str], tmp_path: Path
) -> None:
    refused = pytest.raises(RunError, match="Another server is at work in the run's folder 'output'")
    with refused, alone_in(tmp_path / "output"):
        pytest.fail("two servers are in one folder")

    assert list((tmp_path / "output").iterdir()) == []


def test_a_server_that_was_killed_keeps_nobody_out(another: subprocess.Popen[str], tmp_path: Path) -> None:
    another.send_signal(signal.SIGKILL)
    another.wait()

    with alone_in(tmp_path / "output") as output:
        assert output.is_dir()


def test_a_run_whose_folder_another_server_has_does_not_touch_it(tmp_path: Path) -> None:
    attempts = Attempts.of(tiny_plan("[rounds]\nrounds = 1"), tmp_path / "run")
    attempts.output.mkdir(parents=True, exist_ok=True)

    with alone_in(attempts.output), pytest.raises(RunError, match="Another server is at work"):
        attempts.run()

    assert list(attempts.output.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    refused = pytest.raises(RunError, match=r"'output' cannot be opened \(Not a directory\)")
    with refused, alone_in(tmp_path / "file" / "output"):
        pytest.fail("there is no such folder")
