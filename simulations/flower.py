"""Flower's own engine on one machine: start it, hand it a run, ask how the run is, stop it.

Three things that Flower leaves to its user are done here. The run uses a copy of the code, so
that workers cannot take the code of the folder they were started in for the code of the run.
Flower's exit code is 0 even when the run failed, so its list of runs is asked. And its
processes stay after the run, so they are stopped.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lego_core.errors import RunError
from simulations.processes import environment, program, stop_marked

ROOT = Path(__file__).resolve().parents[1]
STAGED = ("pyproject.toml", "LICENSE", "server", "client", "lego_core", "simulations/plans", "deploy/plans")
CONNECTION = """
[superlink]
default = "local"
[superlink.local]
address = "127.0.0.1:{port}"
insecure = true
"""
MOST_WORKERS = 4  # each takes some 400 MB of memory
START_SECONDS = 120.0
COMMAND_SECONDS = 120.0
STOP_SECONDS = 5.0


def stage_app(folder: Path) -> Path:
    """Copy what the coordinator and the sites run, and nothing else."""
    for name in STAGED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


@dataclass(frozen=True)
class Flower:
    """Flower's coordinator (its SuperLink), running.

    Args:
        process: Its first process.
        home: Where Flower and Ray keep their files.
        env: The environment of everything that belongs to it.
        address: Where it listens.
    """

    process: subprocess.Popen[bytes]
    home: Path
    env: Mapping[str, str]
    address: str

    def submit(self, app: Path, *, sites: int | None, run_config: Mapping[str, str]) -> str:
        """Hand over a run, and give its number.

        Args:
            app: The copy of the code.
            sites: How many sites to play; None where real ones are connected.
            run_config: Values for keys of `[tool.flwr.app.config]`.

        Raises:
            RunError: If Flower does not take it.
        """
        played = []
        if sites is not None:
            workers = max(1, min(os.cpu_count() or 1, sites, MOST_WORKERS))
            federation = f"num-supernodes={sites} client-resources-num-cpus=1 init-args-num-cpus={workers}"
            played = ["--federation-config", federation]
        config = " ".join(f"{key}={json.dumps(value)}" for key, value in run_config.items())
        return self._ask("run", str(app), "local", *played, "-c", config)["run-id"]

    def status(self, run_id: str) -> tuple[str, str]:
        """How a run is (`finished:completed` if it ended well), and Flower's details.

        Raises:
            RunError: If Flower is gone, or cannot say.
        """
        self._check_alive()
        run = self._ask("ls", "local", "--run-id", run_id)["runs"][0]
        return run["status"], run["status-details"]

    def wait_until_ready(self, port: int) -> None:
        """Wait for it to listen.

        Raises:
            RunError: If it does not, in time.
        """
        deadline = time.monotonic() + START_SECONDS
        while not _listens(port):
            self._check_alive()
            if time.monotonic() > deadline:
                raise RunError(
                    f"Flower's coordinator did not start within {START_SECONDS:g} seconds. Its last words "
                    "are in flower.log."
                )
            time.sleep(0.2)

    def _check_alive(self) -> None:
        if self.process.poll() is not None:
            raise RunError(
                f"Flower's coordinator ended by itself with code {self.process.returncode}. Its last words "
                "are in flower.log."
            )

    def _ask(self, *arguments: str) -> dict[str, Any]:
        command = [program("flwr"), *arguments, "--format", "json"]
        try:
            done = subprocess.run(
                command, cwd=self.home, env=self.env, stdin=subprocess.DEVNULL,
                capture_output=True, timeout=COMMAND_SECONDS, check=False,
            )  # fmt: skip
            answer = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, ValueError) as error:
            raise RunError(
                f"Flower gave no readable answer to 'flwr {arguments[0]}' within {COMMAND_SECONDS:g} "
                "seconds. Its last words are in flower.log."
            ) from error
        if not answer["success"]:
            raise RunError(f"Flower refuses 'flwr {arguments[0]}': {answer}")
        return answer


@contextmanager
def flower_running(log: Path, *, simulation: bool = True) -> Iterator[Flower]:
    """Run Flower's coordinator for as long as a `with` block lasts, and leave nothing behind.

    Args:
        log: Where everything that belongs to it writes.
        simulation: Whether it plays the sites; otherwise they connect to it.

    Raises:
        RunError: If it does not start.
    """
    mark, port = uuid.uuid4().hex, _free_port()
    with _short_folder() as name, log.open("wb") as lines:
        home = Path(name)
        (home / "config.toml").write_text(CONNECTION.format(port=port), encoding="utf-8")
        env = environment(
            mark,
            {
                "FLWR_HOME": name,
                "FLWR_TELEMETRY_ENABLED": "0",
                "FLWR_DISABLE_UPDATE_CHECK": "1",
                "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
                "RAY_TMPDIR": name,
                "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
                "OMP_NUM_THREADS": "1",
            },
        )
        command = [program("flower-superlink"), "--insecure", "--isolation", "subprocess"]
        command += ["--simulation"] if simulation else []
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=home, env=env, stdin=subprocess.DEVNULL, stdout=lines, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            flower = Flower(process, home, env, f"127.0.0.1:{port}")
            flower.wait_until_ready(port)
            yield flower
        finally:
            process.terminate()
            stop_marked(mark, patience_seconds=STOP_SECONDS)
            process.wait(timeout=STOP_SECONDS)


def _short_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder with a short name: Ray's socket paths may not be longer than 107 bytes."""
    short = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108 - a private folder is made inside
    return tempfile.TemporaryDirectory(prefix="lego-", dir=short, ignore_cleanup_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
