"""Start everybody, run the plan to its signed bundle, stop everybody, and compare with one process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from deploy.code_bundle import ROOT
from deploy.demo.institutions import Institutions, make_institutions
from deploy.flower_cli import FlowerCli
from deploy.proxy import fence_of, proxy_running
from deploy.registration import register_sites
from deploy.run import HandedOver, hand_over, show_result, watch_to_its_end, weights_hash
from deploy.service import Service, free_port, program, stop_all
from deploy.superlink import coordinator_running, settings_of
from deploy.supernode import SuperNodeSettings, supernode_of
from lego_core.errors import RunError

ONLINE_SECONDS = 180.0
LOOK_SECONDS = 2.0
STOPPED_BY = (signal.SIGINT, signal.SIGTERM)
WRITTEN = {"hospitals", "coordinator"}  # what a demonstration leaves behind, and nobody else


def make_room(folder: Path, *, overwrite: bool) -> None:
    """Make sure that a folder is there and empty.

    Raises:
        RunError: If it holds something, unless it is an earlier demonstration and may go.
    """
    here = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if here and not (overwrite and here >= {"hospitals"} and here & WRITTEN):
        raise RunError(
            f"There is something in '{folder.name}' already. Name another folder with --output, or, if it is "
            "an earlier demonstration, add --overwrite.",
            local=str(folder),
        )
    if here:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def play(plan: str, folder: Path, *, console: Console) -> bool:
    """Run a plan between institutions that share nothing but this machine.

    Args:
        plan: A shipped plan with hospitals to play.
        folder: An empty folder.
        console: Where to show how it goes.

    Returns:
        Whether it came to a signed bundle, with the very weights of a run in one process.

    Raises:
        LegoError: If something does not start, or ends that should not.
    """
    program("nginx")  # before anything else is done
    with _step(console, "Keys, papers and data of everybody"):
        made = make_institutions(plan, folder, say=lambda line: _note(console, line))
    _note(console, f"code bundle {made.bundle.sha256}, approved by {len(made.sites)} sites")
    good = _run(plan, made, folder / "result", console=console)
    return _is_as_in_one_process(plan, folder, console=console) if good else False


def _run(plan: str, made: Institutions, output: Path, *, console: Console) -> bool:
    coordinator = made.coordinator
    with _signals_as_before(), ExitStack() as running:
        try:
            run, problem = _run_between(made, plan, output, running=running, console=console)
        finally:
            _hear_no_signal()  # what was started would stay if stopping it were interrupted
            _note(console, "stopping all processes")
    return show_result(coordinator, run, problem=problem, console=console)


def _run_between(
    made: Institutions, plan: str, output: Path, *, running: ExitStack, console: Console
) -> tuple[HandedOver, str]:
    """Start everybody, have them run the plan, and give what went wrong, if anything did."""
    flower, coordinator = FlowerCli(made.coordinator.folder), made.coordinator
    with _step(console, "SuperLink and SuperExec, with TLS, for this machine alone"):
        services = running.enter_context(coordinator_running(settings_of(coordinator)))
    with _step(console, f"nginx at {coordinator.federation.address}, for SuperNodes alone"):
        fence = fence_of(coordinator)
        nginx = running.enter_context(proxy_running(fence, folder=coordinator.folder / "proxy"))
    with _step(console, "Flower gets to know the sites' keys"):
        register_sites(coordinator)
    nodes = {name: _node(home) for name, home in made.sites.items()}
    running.callback(stop_all, list(nodes.values()))

    def check() -> None:
        services.check_alive()
        for service in (nginx, *nodes.values()):
            service.check_alive()

    with _step(console, f"{len(nodes)} SuperNodes, each with its own key, folder and list of approved code"):
        for node in nodes.values():
            node.start()
        _until_online(nodes, flower)
    _note(console, f"python -m deploy run coordinator {plan}")
    run = hand_over(coordinator, plan, output=output)
    return run, watch_to_its_end(run, flower=flower, console=console, check=check)


def _node(home: Path) -> Service:
    return supernode_of(SuperNodeSettings.of(home, runtime_port=free_port()))


def _until_online(nodes: Mapping[str, Service], flower: FlowerCli) -> None:
    deadline = time.monotonic() + ONLINE_SECONDS
    while True:
        online = sum(status == "online" for status in flower.nodes().values())
        if online == len(nodes):
            return
        for node in nodes.values():
            node.check_alive()
        if time.monotonic() > deadline:
            raise RunError(
                f"{online} of {len(nodes)} SuperNodes came online within {ONLINE_SECONDS:g} seconds. What "
                "the others say is in supernode.log of their folders."
            )
        time.sleep(LOOK_SECONDS)


def _is_as_in_one_process(plan: str, folder: Path, *, console: Console) -> bool:
    """Run the same plan in one process, and compare the weights."""
    alone = folder / "in-process"
    with _step(console, "The same plan in one process, to compare"):
        command = [sys.executable, "-m", "simulations", "run", plan, "--engine", "in-process"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, "--output", str(alone)],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode != 0:
        raise RunError("The run in one process failed.", local=done.stdout + done.stderr)
    here, there = weights_hash(folder / "result"), weights_hash(alone)
    if here != there:
        sentence = f"The weights DIFFER: {here} here, and {there} in one process."
        console.print(Text(sentence, style="bold red"), soft_wrap=True)
        return False
    console.print(Text(f"The same weights, bit for bit, here and in one process: {here}"), soft_wrap=True)
    return True


@contextmanager
def _signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STOPPED_BY}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _hear_no_signal() -> None:
    for number in STOPPED_BY:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    begun = time.monotonic()
    with console.status(what):
        yield
    console.print(Text(f"{time.monotonic() - begun:5.1f} s  {what}"), soft_wrap=True)


def _note(console: Console, line: str) -> None:
    console.print(Text(f"         {line}", style="dim"), soft_wrap=True)
