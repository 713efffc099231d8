"""What the round trip of a large block costs: seconds and memory, next to Flower's own way."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from lego_core.component import Component
from lego_core.errors import RunError
from simulations.benchmarks.command import command, say
from simulations.benchmarks.store import write_whole
from simulations.benchmarks.transport.memory import Peaks
from simulations.benchmarks.transport.nodes import Start, federation, stage_bench
from simulations.processes import MARK, marked

APP = Path(__file__).with_name("_block_app.py")
LIMIT_SECONDS = 1200.0
LOOK_SECONDS = 0.05
PROCESSES = ("ServerApp", "SuperLink", "SuperNode", "ClientApp")
WAYS: dict[str, tuple[str, Start, str]] = {
    "Flower's one message, nodes as Flower ships them": ("flower", "usual", "float32"),
    "Flower's one message, nodes with short waits": ("flower", "quick", "float32"),
    "in pieces, nodes with short waits": ("pieces", "quick", "float32"),
    "in pieces, short waits, bfloat16": ("pieces", "quick", "bfloat16"),
}


class Trip(Component):
    """One round trip.

    Args:
        way: How.
        seconds: From the question to the answer.
        mebibytes: That travelled, each way.
        own: Highest memory of a process of each kind beside mapped files, in MiB.
        resident: The same of all that is resident.
    """

    way: str
    seconds: float
    mebibytes: float
    own: dict[str, float]
    resident: dict[str, float]


class LargeBlock(Component):
    """What `bench large-block` measured.

    Args:
        mebibytes: Size of the block in float32.
        trips: The round trips.
    """

    mebibytes: int
    trips: tuple[Trip, ...]


def run_large_block(folder: Path, *, mebibytes: int) -> None:
    """Measure, print and write, as a command."""
    with command() as console:
        measured = measure(folder, mebibytes=mebibytes, console=console)
        text = table(measured)
        write_whole(folder / "results.json", json.dumps(measured.to_plain(), indent=1) + "\n")
        write_whole(folder / "table.md", text)
        say(console, ["", *text.splitlines(), str(folder / "table.md")])


def measure(folder: Path, *, mebibytes: int, console: Console) -> LargeBlock:
    """Send a block to a site and back in every way, each with processes of its own.

    Args:
        folder: For logs.
        mebibytes: Size of the block in float32.
        console: Where to say how far it is.

    Raises:
        RunError: If a block did not come back as it should.
    """
    trips = []
    for number, (name, (way, start, dtype)) in enumerate(WAYS.items()):
        size = mebibytes // 2 if dtype == "bfloat16" else mebibytes
        trips.append(
            _trip(
                folder / f"way-{number}",
                name,
                way=way,
                start=start,
                dtype=dtype,
                mebibytes=size,
                console=console,
            )
        )
        say(console, [f"{name}: {trips[-1].seconds:.1f} seconds"])
    return LargeBlock(mebibytes=mebibytes, trips=tuple(trips))


def table(measured: LargeBlock) -> str:
    """The measurements as Markdown."""
    first = measured.trips[0]
    lines = [
        f"A block of {measured.mebibytes} MiB goes to one site and comes back; every process on one machine.",
        "Memory is the highest of a process, in MiB: its own, and in brackets with mapped files.",
        "",
        f"| way | MiB each way | seconds | ratio | {' | '.join(PROCESSES)} |",
        f"|---|---:|---:|---:|{'---:|' * len(PROCESSES)}",
    ]
    for trip in measured.trips:
        memory = " | ".join(
            f"{trip.own[name]:,.0f} ({trip.resident[name]:,.0f})" for name in PROCESSES if name in trip.own
        )
        ratio = first.seconds / trip.seconds
        lines.append(f"| {trip.way} | {trip.mebibytes:.0f} | {trip.seconds:.1f} | {ratio:.1f} | {memory} |")
    return "\n".join([*lines, ""])


def _trip(
    folder: Path, name: str, *, way: str, start: Start, dtype: str, mebibytes: int, console: Console
) -> Trip:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = {"output": str(folder), "way": way, "dtype": dtype, "mebibytes": str(mebibytes)}
    keys = {"plan": "", "sites-dir": "", **dict.fromkeys(config, "")}
    app = stage_bench(folder / "app", module=APP, config=keys)
    peaks = Peaks()
    with (
        federation(folder, [start]) as running,
        console.status(name),
        _looking(lambda: peaks.look(marked(running.flower.env[MARK]))),
    ):
        for _ in running.run(app, run_config=config, limit_seconds=LIMIT_SECONDS):
            pass
    done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    if not done["right"]:
        raise RunError(f"The block that came back {name} is not the one that was sent. See {folder.name}.")
    return Trip(
        way=name,
        seconds=done["seconds"],
        mebibytes=done["bytes"] / 2**20,
        own={role: peak / 2**20 for role, peak in peaks.own.items()},
        resident={role: peak / 2**20 for role, peak in peaks.resident.items()},
    )


@contextmanager
def _looking(look: Callable[[], None]) -> Iterator[None]:
    """Look again and again beside what is done in the `with` block."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(LOOK_SECONDS):
            look()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
