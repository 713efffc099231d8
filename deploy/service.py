"""One program of the coordinator: started, watched, and stopped, with all that it started, by process id."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lego_core.errors import RunError

PATIENCE_SECONDS = 10.0
PAUSE_SECONDS = 0.05
LAST_WORDS = 2_000
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def program(name: str) -> str:
    """A program of the Python that runs this, or of the system.

    Raises:
        RunError: If it is not installed.
    """
    beside = Path(sys.executable).parent / name
    system = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
    found = str(beside) if beside.is_file() else shutil.which(name, path=system)
    if found is None:
        raise RunError(
            f"The program '{name}' is not installed here. Flower's come with this project's extra "
            "'federation', nginx with the system's packages (Debian's: apt-get install nginx-light)."
        )
    return found


def check_port_is_free(host: str, port: int, *, what: str) -> None:
    """Say who is in whose way, before a program dies of it.

    Raises:
        RunError: If another process listens there, or this machine has no such address.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except OSError as error:
        raise RunError(
            f"{what} cannot listen at {host}:{port}: {error.strerror}. Stop what listens there, or give "
            "another port."
        ) from error


def free_port() -> int:
    """A port of loopback that nobody listened at a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Service:
    """A program that runs until it is told to stop, with all that it started.

    Flower's ServerApps end by themselves when their SuperExec is gone, but not before they come
    back from what they do. So the whole group of processes is stopped. The first of them is not
    forgotten before that: until then, its number cannot be given to a stranger's process. What they
    write is their owner's alone to read.

    Args:
        name: What it is called in messages.
        command: The program and its arguments.
        environment: All of its environment.
        folder: Its output goes to `<name>.log` there, which goes on where it ended.
        runs_in: Where it runs; there too, if not given.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        runs_in: Path | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = tuple(command)
        self._environment = dict(environment)
        self._runs_in = runs_in or folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            RunError: If it was not started.
        """
        if self._process is None:
            raise RunError(f"{self.name} was not started. Start it first.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._end() is None

    def start(self) -> None:
        """Start it; also again, after its end.

        Raises:
            RunError: If it runs, or cannot be started.
        """
        if self.is_running:
            raise RunError(f"{self.name} runs already, as process {self.pid}. Stop it first.")
        self.stop()
        try:
            with self.log.open("ab") as lines:
                self._process = subprocess.Popen(
                    self._command, cwd=self._runs_in, env=self._environment, stdin=subprocess.DEVNULL,
                    stdout=lines, stderr=subprocess.STDOUT, start_new_session=True, umask=0o077,
                )  # fmt: skip
        except OSError as error:
            raise RunError(f"{self.name} cannot be started: {error.strerror}.", local=str(error)) from error

    def check_alive(self) -> None:
        """Notice its end.

        Raises:
            RunError: If it ended, with its last words.
        """
        if self._process is None:
            raise RunError(f"{self.name} does not run. Start it first.")
        if (code := self._end()) is not None:
            raise RunError(
                f"{self.name} ended by itself with code {code}. Its last words are in {self.log.name}.",
                local=self.last_words(),
            )

    def ends_within(self, seconds: float) -> bool:
        """Wait for it to end, and say whether it did."""
        return _comes_true(lambda: not self.is_running, seconds=seconds)

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-LAST_WORDS:]

    def last_lines(self, number: int = 4) -> list[str]:
        """The last lines of its log that say anything, without colours."""
        plain = COLOURS.sub("", self.last_words()).splitlines()
        return [line.strip() for line in plain if line.strip()][-number:]

    def stop(self) -> None:
        """Ask it to end, then what it left behind, then end what does not listen."""
        if self._process is None:
            return
        process, self._process = self._process, None
        _send(signal.SIGTERM, process.pid, os.kill)
        if not _comes_true(lambda: _end_of(process.pid) is not None, seconds=PATIENCE_SECONDS):
            _send(signal.SIGKILL, process.pid, os.kill)
        _send(signal.SIGTERM, process.pid, os.killpg)
        process.wait()
        if not _comes_true(lambda: not _send(0, process.pid, os.killpg), seconds=PATIENCE_SECONDS):
            _send(signal.SIGKILL, process.pid, os.killpg)

    def _end(self) -> int | None:
        return _end_of(self.pid)


def stop_all(services: Sequence[Service]) -> None:
    """Stop several at once: each may take seconds to listen."""
    with ThreadPoolExecutor(max_workers=max(1, len(services))) as pool:
        for stopped in [pool.submit(service.stop) for service in services]:
            stopped.result()


def _end_of(pid: int) -> int | None:
    """How a process ended, as `subprocess` tells it, without forgetting the process."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


def _send(number: int, pid: int, way: Callable[[int, int], None]) -> bool:
    try:
        way(pid, number)
    except ProcessLookupError:
        return False
    return True


def _comes_true(holds: Callable[[], bool], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE_SECONDS)
    return True
