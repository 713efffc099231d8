"""A coordinator, its proxy, and what an operator and a site do with them, in a folder of a test."""

import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from throwaway import Authority, free_port, node_key

from deploy.environment import flower_environment
from deploy.proxy import Fence
from deploy.service import Service, program
from deploy.superlink import CoordinatorServices

COMMAND_SECONDS = 60.0
ONLINE_WITHIN_SECONDS = 60.0
CONNECTION = """
[superlink]
default = "coordinator"
[superlink.coordinator]
address = "{address}"
root-certificates = "{ca}"
"""


@dataclass(frozen=True)
class Stage:
    """A coordinator with its proxy, and a second proxy whose certificate has expired."""

    folder: Path
    ca: Authority
    services: CoordinatorServices
    fence: Fence
    expired: Fence

    def flwr(self, *arguments: str, address: str = "") -> dict[str, object]:
        """Ask Flower's command line, on the coordinator's machine unless another address is given."""
        home = self.folder / "operator"
        home.mkdir(exist_ok=True)
        connection = CONNECTION.format(address=address or self.services.settings.address, ca=self.ca.file)
        (home / "config.toml").write_text(connection)
        done = subprocess.run(
            [program("flwr"), *arguments, "--format", "json"],
            cwd=home, env=flower_environment(home, inherited=os.environ), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False,
        )  # fmt: skip
        return json.loads(done.stdout[done.stdout.index("{") :])

    def registered(self, name: str) -> Path:
        """The private key of a site that the coordinator knows."""
        private, public = node_key(self.folder / "keys", name)
        assert self.flwr("supernode", "register", str(public), "coordinator", "--name", name)["success"]
        return private

    def supernode(self, name: str, *trust: str, port: int, key: Path | None) -> Service:
        """A site's SuperNode, not yet started."""
        home = self.folder / f"site-{name}"
        home.mkdir()
        command = [
            program("flower-supernode"), "--superlink", f"localhost:{port}", "--port", str(free_port()),
            *(trust or ("--root-certificates", str(self.ca.file))),
        ]  # fmt: skip
        if key is not None:
            command += ["--auth-supernode-private-key", str(key)]
        environment = flower_environment(home, inherited=os.environ)
        return Service("supernode", command, environment=environment, folder=home)

    def statuses(self) -> dict[str, str]:
        """How each registered site is, by Flower's number for it."""
        nodes = self.flwr("supernode", "list", "coordinator")["nodes"]
        return {node["node-id"]: node["status"] for node in nodes}  # type: ignore[attr-defined]


def processes_of(folder: Path) -> list[str]:
    """What still runs of what was started for this folder: Flower's programs, and nginx."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.environ().get("FLWR_HOME", "")]
        except (psutil.Error, OSError):
            continue
        if any(word.startswith(str(folder)) for word in words):
            found.append(" ".join(words))
    return found


def until_online(service: Service, stage: Stage) -> None:
    """Wait for one of the registered sites to be online."""
    deadline = time.monotonic() + ONLINE_WITHIN_SECONDS
    while time.monotonic() < deadline:
        service.check_alive()
        if "online" in stage.statuses().values():
            return
        time.sleep(0.5)
    pytest.fail(
        f"the SuperNode was not online within {ONLINE_WITHIN_SECONDS:g} seconds: {service.last_words()}"
    )
