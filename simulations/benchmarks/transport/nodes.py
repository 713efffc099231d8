"""Real nodes beside Flower's coordinator, on this machine: as Flower ships them, or quick ones."""

import shutil
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import tomli_w

from lego_core.errors import RunError
from simulations.flower import ROOT, Flower, flower_running, stage_app
from simulations.processes import program

Start = Literal["usual", "quick"]
LOOK_SECONDS = 0.5
ASK_SECONDS = 10.0  # asking Flower how a run is takes a second of a processor, from what is measured


@dataclass(frozen=True)
class Node:
    """A site's node.

    Args:
        start: `usual`, as Flower ships it; `quick`, as `deploy/quick_node.py` starts it.
        process: Its first process.
    """

    start: Start
    process: psutil.Popen


@dataclass(frozen=True)
class Federation:
    """A coordinator and its nodes, running."""

    flower: Flower
    nodes: Sequence[Node]

    def run(self, app: Path, *, run_config: Mapping[str, str], limit_seconds: float) -> Iterator[None]:
        """Hand over a run, and come back every half second until it has ended.

        Raises:
            RunError: If it failed, or took longer than the limit.
        """
        run_id = self.flower.submit(app, sites=None, run_config=run_config)
        deadline, asked = time.monotonic() + limit_seconds, time.monotonic()
        while True:
            if time.monotonic() - asked > ASK_SECONDS:
                status, details = self.flower.status(run_id)
                asked = time.monotonic()
                if status == "finished:completed":
                    return
                if status.startswith("finished") or asked > deadline:
                    raise RunError(f"The run did not end well: {status} {details}. See flower.log.")
            yield
            time.sleep(LOOK_SECONDS)


@contextmanager
def federation(folder: Path, starts: Sequence[Start]) -> Iterator[Federation]:
    """Run a coordinator and one node for each start, for as long as a `with` block lasts.

    Args:
        folder: For logs and the nodes' own files.
        starts: How each node is started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        flower = stack.enter_context(flower_running(folder / "flower.log", simulation=False))
        nodes = []
        for number, start in enumerate(starts):
            log = stack.enter_context((folder / f"node-{number}.log").open("wb"))
            nodes.append(Node(start, _start(flower, number, start, log.fileno())))
        yield Federation(flower, nodes)


def stage_bench(folder: Path, *, module: Path, config: Mapping[str, object]) -> Path:
    """Put an app together that runs one module of ours, with the code of server and client beside it.

    Args:
        folder: Where to.
        module: A file with `server_app` and `client_app`.
        config: The keys of its run configuration.
    """
    shutil.rmtree(folder, ignore_errors=True)
    stage_app(folder)
    (folder / "bench_app.py").write_bytes(module.read_bytes())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    app = project["tool"]["flwr"]["app"]
    app["fab-include"] = [*app["fab-include"], "bench_app.py"]
    app["components"] = {"serverapp": "bench_app:server_app", "clientapp": "bench_app:client_app"}
    app["config"] = dict(config)
    (folder / "pyproject.toml").write_text(tomli_w.dumps(project), encoding="utf-8")
    return folder


def _start(flower: Flower, number: int, start: Start, log: int) -> psutil.Popen:
    home = flower.home / f"node-{number}"
    home.mkdir()
    arguments = [
        "--insecure", "--superlink", flower.address, "--port", str(_free_port()),
        "--node-config", f'start="{start}" site-file="{home / "site.toml"}"',
    ]  # fmt: skip
    usual = [program("flower-supernode")]
    quick = [sys.executable, "-m", "deploy.quick_node", str(home / "warm")]
    return psutil.Popen(
        [*(quick if start == "quick" else usual), *arguments],
        cwd=ROOT if start == "quick" else home, env={**flower.env, "FLWR_HOME": str(home)},
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
