"""Compose, systemd and Kubernetes say the same; and what they say starts, on this very machine."""

import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from provisioning import refused
from target_stage import ROLES, Institutions, institutions, tool
from throwaway import free_port
from typer.testing import CliRunner

from deploy.cli import app
from deploy.coordinator import Coordinator
from deploy.service import Service, stop_all
from deploy.superlink import settings_of, superexec_command, superlink_command
from deploy.targets import processes

HEALTHY_WITHIN_SECONDS = 90.0


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Institutions:
    return institutions(tmp_path_factory.mktemp("agree"))


@dataclass(frozen=True)
class Said:
    """What one target says of one process; the program by its name alone."""

    command: tuple[str, ...]
    environment: frozenset[tuple[str, str]]
    runs_in: str
    memory: int
    stop_seconds: int


def in_compose(here: Institutions, role: str) -> dict[str, Said]:
    return {
        name: Said(
            command=tuple(one["command"]),
            environment=frozenset(one["environment"].items()),
            runs_in=one["working_dir"],
            memory=int(one["mem_limit"].removesuffix("g")),
            stop_seconds=int(one["stop_grace_period"].removesuffix("s")),
        )
        for name, one in here.compose(role)["services"].items()
        if name not in ("network", "operator")
    }


def in_systemd(here: Institutions, role: str) -> dict[str, Said]:
    return {name: _in_unit(text) for name, text in here.units(role).items()}


def _in_unit(text: str) -> Said:
    joined = text.replace("\\\n", " ")
    lines = [line.partition("=")[::2] for line in joined.splitlines() if "=" in line]
    last = dict(lines)
    program, *words = shlex.split(last["ExecStart"])
    told = [shlex.split(value)[0].partition("=")[::2] for key, value in lines if key == "Environment"]
    return Said(
        command=(Path(program).name, *words),
        environment=frozenset(told),
        runs_in=last["WorkingDirectory"],
        memory=int(last["MemoryMax"].removesuffix("G")),
        stop_seconds=int(last["TimeoutStopSec"]),
    )


def in_kubernetes(here: Institutions, role: str) -> dict[str, Said]:
    spec = here.manifests(role)["StatefulSet"]["spec"]["template"]["spec"]
    return {
        one["name"]: Said(
            command=tuple(one["command"]),
            environment=frozenset((entry["name"], entry["value"]) for entry in one["env"]),
            runs_in=one["workingDir"],
            memory=int(one["resources"]["limits"]["memory"].removesuffix("Gi")),
            stop_seconds=spec["terminationGracePeriodSeconds"],
        )
        for one in spec["containers"]
    }


@pytest.mark.parametrize("role", ROLES)
def test_the_three_targets_say_the_same(here: Institutions, role: str) -> None:
    composed = in_compose(here, role)

    assert composed == in_systemd(here, role)
    assert composed == in_kubernetes(here, role)
    assert len(composed) == (3 if role == "coordinator" else 1)


def test_they_start_what_coordinator_start_starts(here: Institutions) -> None:
    settings = settings_of(Coordinator.open(here.folder / "liver"))
    said = in_compose(here, "coordinator")

    for name, command in (("superlink", superlink_command), ("superexec", superexec_command)):
        ours, theirs = list(said[name].command[1:]), command(settings)[1:]
        database = str(settings.database)
        expected = [
            str(here.folder / "state" / "superlink" / "state.db") if word == database else word
            for word in theirs
        ]
        assert ours[: len(expected)] == expected
        assert ours[len(expected)] == "--health-server-address"


def test_a_site_is_started_by_a_command_that_exists(here: Institutions) -> None:
    _, module, package, *words = in_compose(here, "site")["supernode"].command
    assert (module, package) == ("-m", "deploy")
    assert CliRunner().invoke(app, [*words[:2], "--help"]).exit_code == 0
    assert words[2] == str(here.folder / "north")


@pytest.mark.parametrize("role", ROLES)
def test_no_file_of_any_target_holds_a_secret(here: Institutions, role: str) -> None:
    secrets = [path.read_bytes() for path in here.folder.rglob("*") if path.suffix in {".key", ".secret"}]
    lines = {
        line for secret in secrets for line in secret.splitlines() if len(line) > 30 and b"---" not in line
    }
    for target in ("compose", "systemd", "kubernetes"):
        made = here.make(role, target)
        content = b"".join(path.read_bytes() for path in made.iterdir())
        assert lines
        assert not [line for line in lines if line in content]


def test_inputs_that_cannot_be_are_refused_with_the_way_out(here: Institutions, tmp_path: Path) -> None:
    liver, north, output = here.folder / "liver", here.folder / "north", ("--output", tmp_path / "made")
    state, data = ("--state", here.folder / "state"), ("--data", here.folder / "data")
    coordinator = ("target", "coordinator", "compose", liver, *output)
    site = ("target", "site", "compose")

    assert "counts for fl.example.org" in refused(*coordinator, *state, "--address", "elsewhere.org")
    inside = ("--state", liver / "state", "--address", "fl.example.org")
    assert "outside of it" in refused(*coordinator, *inside)
    assert "absolute path of letters" in refused(*site, north, "--data", tmp_path / "a b", *output)
    assert "key 'gpu'" in refused(*site, north, *data, *output, "--gpu", "the big one")
    (tmp_path / "empty").mkdir()
    assert "has no 'federation.toml'" in refused(*site, tmp_path / "empty", *data, *output)
    assert not (tmp_path / "made").exists()


@pytest.mark.slow
def test_the_coordinator_of_the_compose_file_starts_and_is_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("nginx"), tool("curl")
    monkeypatch.setattr(processes, "SUPERLINK_HEALTH", free_port())
    monkeypatch.setattr(processes, "SUPEREXEC_HEALTH", free_port())
    here = institutions(tmp_path, "--port", str(free_port()), "--superlink-port", str(free_port()))
    made = here.make("coordinator", "compose")
    services = here.compose("coordinator")["services"]
    path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/bin"
    running: dict[str, Service] = {}
    try:
        for name in ("superlink", "superexec", "proxy"):
            folder = Path(services[name]["working_dir"])
            folder.mkdir(parents=True)
            if name == "proxy":
                (folder / "nginx.conf").write_text((made / "nginx.conf").read_text())
            environment = {"PATH": path, "OMP_NUM_THREADS": "1", **services[name]["environment"]}
            running[name] = Service(name, services[name]["command"], environment=environment, folder=folder)
            running[name].start()
        for name, service in running.items():
            probe = services[name]["healthcheck"]["test"][1:]
            wait_until_healthy(service, probe, path=path)
        assert re.search(rb"\"code\": 403", refusal(services["proxy"]["healthcheck"]["test"][1:], path=path))
    finally:
        stop_all(list(running.values()))
    dead = subprocess.run(
        services["superlink"]["healthcheck"]["test"][1:], env={"PATH": path}, capture_output=True, check=False
    )
    assert dead.returncode != 0


def wait_until_healthy(service: Service, probe: list[str], *, path: str) -> None:
    deadline = time.monotonic() + HEALTHY_WITHIN_SECONDS
    while subprocess.run(
        probe, env={**os.environ, "PATH": path}, capture_output=True, check=False
    ).returncode:
        service.check_alive()
        assert time.monotonic() < deadline, service.last_words()
        time.sleep(0.5)


def refusal(probe: list[str], *, path: str) -> bytes:
    return subprocess.run(probe, env={"PATH": path}, capture_output=True, check=True).stdout
