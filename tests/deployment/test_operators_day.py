"""The programs as their operators start them: coordinator, sites and a run; a killed node comes back."""

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from provisioning import done
from stage import processes_of
from test_provision_document import SHOWN

from deploy.code_bundle import ROOT
from deploy.demo import Institutions, make_institutions
from deploy.flower_cli import FlowerCli
from deploy.run import weights_hash
from deploy.service import Service, free_port
from deploy.supernode import RETURN_SECONDS
from lego_core.bundle import ModelBundle

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
        reason="nginx is not installed here: apt-get install nginx-light",
    ),
]
PLAN = "two-hospitals"
STARTS_WITHIN_SECONDS = 300.0
ENDS_WITHIN_SECONDS = 1800.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Institutions]:
    folder = tmp_path_factory.mktemp("day")
    yield make_institutions(PLAN, folder / "all", say=lambda _: None)
    assert processes_of(folder) == []


def typed(made: Institutions, name: str, *words: object) -> Service:
    """A command that goes on, as an operator types it in the checkout; what it says is in its log."""
    command = [sys.executable, "-m", "deploy", *(str(word) for word in words)]
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "COLUMNS": "300"}
    folder = made.coordinator.folder.parent
    return Service(name, command, environment=environment, folder=folder, runs_in=ROOT)


def until(holds: Callable[[], bool], *, of: Service, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        of.check_alive()
        assert time.monotonic() < deadline, of.last_words()
        time.sleep(1)


def online(made: Institutions) -> int:
    return list(FlowerCli(made.coordinator.folder).nodes().values()).count("online")


def test_the_day(made: Institutions) -> None:
    folder = made.coordinator.folder
    coordinator = typed(made, "coordinator", "coordinator", "start", folder)
    sites = {
        name: typed(made, name, "site", "start", home, "--runtime-port", free_port())
        for name, home in made.sites.items()
    }
    with ExitStack() as stack:
        stack.callback(coordinator.stop)
        coordinator.start()
        until(lambda: "Sites are let in at" in coordinator.last_words(), of=coordinator, seconds=300)
        said = coordinator.last_words()
        assert "SuperLink and SuperExec run, for this machine alone, at 127.0.0.1:" in said
        assert said.count("now; the site may start it.") == len(sites)
        assert "There is no site that Flower does not know." in done("coordinator", "register", folder)

        for site in sites.values():
            stack.callback(site.stop)
            site.start()
        until(lambda: online(made) == len(sites), of=coordinator, seconds=STARTS_WITHIN_SECONDS)

        run = typed(made, "run", "run", folder, PLAN)
        stack.callback(run.stop)
        run.start()
        assert run.ends_within(ENDS_WITHIN_SECONDS)
        assert f"Sites run it if they have approved its code, {made.bundle.sha256}" in run.log.read_text()
        assert "Complete: 2 sites" in run.log.read_text()
        key = made.coordinator.federation.bundle_key
        ModelBundle.load(folder / "runs" / PLAN / "bundle", trusted_keys=[key])
        assert re.fullmatch(r"[0-9a-f]{64}", weights_hash(folder / "runs" / PLAN))

        name, site = next(iter(sites.items()))
        os.kill(node_of(made.sites[name]), signal.SIGKILL)
        until(lambda: "The SuperNode has ended." in site.last_words(), of=site, seconds=30)
        until(lambda: "The SuperNode is back." in site.last_words(), of=site, seconds=RETURN_SECONDS + 30)
        until(lambda: online(made) == len(sites), of=site, seconds=STARTS_WITHIN_SECONDS)

        os.kill(site.pid, signal.SIGTERM)
        assert site.ends_within(60)
        assert "Told to stop: the SuperNode is stopped." in site.last_words()
        os.kill(coordinator.pid, signal.SIGTERM)
        assert coordinator.ends_within(60)
        assert "Told to stop" in coordinator.last_words()

        for command, log in {"coordinator start": coordinator, "site start": site, "run": run}.items():
            [shown] = [printed for words, printed in SHOWN if words.startswith(command)]
            assert set(masked(shown)) <= set(masked(log.log.read_text())), command


def masked(said: str) -> list[str]:
    """Lines without what differs from place to place: names, folders, addresses, numbers, hashes."""
    said = re.sub(r"/[\w./-]+[\w/]", "FOLDER", said)
    said = re.sub(r"'[\w-]+'", "SITE", said)
    said = re.sub(r"[\w.]+:\d+", "ADDRESS", said)
    said = re.sub(r"\b([0-9a-f]{64}|\d+)\b", "NUMBER", said)
    return said.rstrip().splitlines()


def node_of(home: Path) -> int:
    """The process of a site's SuperNode."""
    words = ["-m", "deploy.pinned_supernode", str(home)]
    listed = psutil.process_iter(["pid", "cmdline"])
    [pid] = [one.info["pid"] for one in listed if (one.info["cmdline"] or [])[1:4] == words]
    return pid
