"""Real processes: what a site has not approved does not run there, and everybody is told why."""

import io
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console
from stage import processes_of

from deploy.approved_code import FOLDER
from deploy.demo import Institutions, make_institutions
from deploy.flower_cli import FlowerCli
from deploy.proxy import fence_of, proxy_running
from deploy.registration import register_sites
from deploy.run import hand_over, show_result, watch_to_its_end
from deploy.service import Service, free_port, stop_all
from deploy.superlink import coordinator_running, settings_of
from deploy.supernode import SuperNodeSettings, supernode_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
        reason="nginx is not installed here: apt-get install nginx-light",
    ),
]


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[tuple[Institutions, dict[str, Service]]]:
    """A coordinator and two sites, all of them running."""
    made = make_institutions("two-hospitals", tmp_path / "all", say=lambda _: None)
    nodes = {
        name: supernode_of(SuperNodeSettings.of(home, runtime_port=free_port()))
        for name, home in made.sites.items()
    }
    with ExitStack() as running:
        running.enter_context(coordinator_running(settings_of(made.coordinator)))
        folder = made.coordinator.folder / "proxy"
        running.enter_context(proxy_running(fence_of(made.coordinator), folder=folder))
        assert register_sites(made.coordinator) == sorted(made.sites)
        assert register_sites(made.coordinator) == []
        running.callback(stop_all, list(nodes.values()))
        for node in nodes.values():
            node.start()
        yield made, nodes
    assert processes_of(tmp_path) == []


def test_code_that_sites_did_not_approve_ends_the_run_with_a_sentence(federation) -> None:
    made, nodes = federation
    for home in made.sites.values():
        shutil.rmtree(home / FOLDER)  # the nodes run already, and look at every bundle anew
    console = Console(file=io.StringIO(), width=200)
    run = hand_over(made.coordinator, "two-hospitals", output=made.coordinator.folder / "runs" / "x")

    problem = watch_to_its_end(run, flower=FlowerCli(made.coordinator.folder), console=console)
    good = show_result(made.coordinator, run, problem=problem, console=console)

    assert problem
    assert not good
    diary = (run.output / "run.jsonl").read_text(encoding="utf-8")
    assert diary.count("This site has not approved the code of this run.") >= len(nodes)
    for name, node in nodes.items():
        assert node.is_running
        assert f"This site has not approved the code bundle {made.bundle.sha256}" in node.log.read_text()
        assert not (made.sites[name] / "audit.jsonl").exists()  # no question was ever looked at
        assert not list((made.sites[name] / "flower").glob("apps/*"))  # and no code was unpacked
