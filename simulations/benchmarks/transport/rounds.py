"""How long a round takes in which nothing is trained: our way to ask, next to Flower's own, in one run."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console

from lego_core.component import Component
from lego_core.errors import RunError
from simulations.benchmarks.command import command, say
from simulations.benchmarks.store import write_whole
from simulations.benchmarks.transport.nodes import Start, federation, stage_bench

APP = Path(__file__).with_name("_rounds_app.py")
STARTS: tuple[Start, ...] = ("usual", "quick")
LIMIT_SECONDS = 3600.0
NAMES = {
    ("flower", "usual"): "Flower's `send_and_receive`, nodes as Flower ships them",
    ("ours", "usual"): "our exchange, the same nodes",
    ("ours", "quick"): "our exchange, nodes with short waits",
}


class Turn(Component):
    """One round.

    Args:
        way: Who asked: `flower` or `ours`.
        start: How the nodes were started.
        asked: How many sites were asked.
        came: How many answered.
        seconds: From the question to the last answer.
    """

    way: str
    start: str
    asked: int
    came: int
    seconds: float


class RoundOverhead(Component):
    """What `bench rounds` measured.

    Args:
        sites: Sites asked in every round.
        turns: All rounds, in their order.
    """

    sites: int
    turns: tuple[Turn, ...]

    def seconds(self, way: str, start: str) -> list[float]:
        """The rounds of one kind."""
        return [turn.seconds for turn in self.turns if (turn.way, turn.start) == (way, start)]

    @property
    def ratio(self) -> float:
        """Median of Flower's rounds over median of ours."""
        return median(self.seconds("flower", "usual")) / median(self.seconds("ours", "quick"))


def run_rounds(folder: Path, *, sites: int, rounds: int) -> None:
    """Measure, print and write, as a command."""
    with command() as console:
        measured = measure(folder, sites=sites, rounds=rounds, console=console)
        text = table(measured)
        write_whole(folder / "results.json", json.dumps(measured.to_plain(), indent=1) + "\n")
        write_whole(folder / "table.md", text)
        say(console, ["", *text.splitlines(), str(folder / "table.md")])


def measure(folder: Path, *, sites: int, rounds: int, console: Console) -> RoundOverhead:
    """Run the rounds with real processes.

    Args:
        folder: For logs and the diary of the run.
        sites: Nodes of each kind.
        rounds: Rounds of each kind.
        console: Where to say how far it is.

    Raises:
        RunError: If a site did not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rounds.json").unlink(missing_ok=True)
    starts: list[Start] = [start for start in STARTS for _ in range(sites)]
    config = {"output": str(folder), "rounds": str(rounds), "nodes": str(len(starts))}
    app = stage_bench(folder / "app", module=APP, config=dict.fromkeys(config, ""))
    turns: Sequence[Turn] = ()
    with federation(folder, starts) as running, console.status("starting") as status:
        for _ in running.run(app, run_config=config, limit_seconds=LIMIT_SECONDS):
            turns = _read(folder)
            status.update(f"{len(turns)} of {len(NAMES) * rounds} rounds")
    turns = _read(folder)
    if any(turn.came < sites for turn in turns) or len(turns) < len(NAMES) * rounds:
        raise RunError("Not every site answered in every round. See run.jsonl and the logs beside it.")
    return RoundOverhead(sites=sites, turns=tuple(turns))


def table(measured: RoundOverhead) -> str:
    """The measurements as Markdown."""
    lines = [
        f"{len(measured.turns) // len(NAMES)} rounds of each kind in one run, in turns, {measured.sites} "
        "sites each; nothing is trained.",
        "",
        "| way | seconds per round, median | lowest to highest |",
        "|---|---:|---|",
    ]
    for (way, start), name in NAMES.items():
        own = measured.seconds(way, start)
        lines.append(f"| {name} | {median(own):.2f} | {min(own):.2f} to {max(own):.2f} |")
    return "\n".join([*lines, "", f"Ratio: **{measured.ratio:.1f}**.", ""])


def _read(folder: Path) -> list[Turn]:
    try:
        return [Turn.model_validate(one) for one in json.loads((folder / "rounds.json").read_text())]
    except (OSError, ValueError):  # not begun, or being written
        return []
