"""A program that is forked for every message is what the command would have been."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.warm_starts import COMMAND, warm_starts

pytestmark = pytest.mark.slow

WITHOUT_A_TOKEN = ["--insecure", "--runtime-api-address", "127.0.0.1:1"]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a node with a process that is ready to fork."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with warm_starts(Path("/tmp") / f"lego-warm-{os.getpid()}", {**os.environ, "PATH": path}) as env:
        yield env


def launch(
    env: dict[str, str], *arguments: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    launcher = Path(env["LEGO_WARM_SOCKET"]).with_name(COMMAND)
    return subprocess.run(
        [str(launcher), *arguments], env=env, cwd=folder, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=60,
    )  # fmt: skip


def test_the_command_is_first_on_the_path_and_nobody_else_may_use_it(env: dict[str, str]) -> None:
    folder = Path(env["PATH"].split(os.pathsep)[0])

    assert (folder / COMMAND).is_file()
    assert folder.stat().st_mode & 0o077 == 0
    assert Path(env["LEGO_WARM_SOCKET"]).stat().st_mode & 0o077 == 0


def test_fork_says_what_the_command_says_and_ends_as_it_ends(env: dict[str, str]) -> None:
    usual = subprocess.run(
        [env["LEGO_USUAL_START"], "--help"], env=env, capture_output=True, text=True, check=False
    )

    forked = launch(env, "--help")

    assert forked.returncode == usual.returncode == 0
    assert forked.stdout == usual.stdout


@pytest.mark.parametrize("arguments", [["--nonsense"], WITHOUT_A_TOKEN])
def test_fork_that_fails_says_why_and_ends_with_the_same_code(
    env: dict[str, str], arguments: list[str]
) -> None:
    usual = subprocess.run(
        [env["LEGO_USUAL_START"], *arguments], env=env, capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip

    forked = launch(env, *arguments)

    assert forked.returncode == usual.returncode != 0
    assert forked.stderr.splitlines()[-1] == usual.stderr.splitlines()[-1]


def test_the_usual_way_is_taken_where_nobody_answers(env: dict[str, str], tmp_path: Path) -> None:
    nobody = {**env, "LEGO_WARM_SOCKET": str(tmp_path / "none.sock")}
    launcher = Path(env["LEGO_WARM_SOCKET"]).with_name(COMMAND)

    done = subprocess.run([str(launcher), "--help"], env=nobody, capture_output=True, check=False)

    assert done.returncode == 0
    assert b"Run a Flower ClientApp" in done.stdout


def test_child_ends_with_whoever_asked_for_it(env: dict[str, str]) -> None:
    launcher = Path(env["LEGO_WARM_SOCKET"]).with_name(COMMAND)
    waiting = [str(launcher), "--insecure", "--token", "x", "--runtime-api-address", "127.0.0.1:1"]
    (ready,) = [one for one in psutil.Process().children() if "_forked_starts.py" in " ".join(one.cmdline())]

    asking = subprocess.Popen(waiting, env=env, stderr=subprocess.DEVNULL)
    _until(lambda: ready.children())
    asking.send_signal(signal.SIGKILL)
    asking.wait()

    _until(lambda: not ready.children())


def test_path_that_no_socket_can_have_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="Choose a shorter folder"),
        warm_starts(tmp_path / ("x" * 90), dict(os.environ)),
    ):
        pass


def _until(true: object, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
