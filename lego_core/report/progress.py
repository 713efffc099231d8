"""Show a run as it goes, from the diary that the coordinator writes."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

PHASES = {
    "offer": "asking sites what they hold",
    "blocks": "training blocks",
    "merge": "merging",
    "fuse": "fusing",
    "evaluate": "evaluating",
}
LOOK_SECONDS = 0.5
Event = Mapping[str, Any]


@final
class Diary:
    """Read a growing file of JSON lines, each line once.

    Args:
        path: The file; it may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_events(self) -> list[Event]:
        """What was written since the last call; a line that is not finished yet waits."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            text, _, _ = lines.read().rpartition(b"\n")
        self._offset += len(text) + 1 if text else 0
        return [json.loads(line) for line in text.splitlines()]


@dataclass
class BlockState:
    """How one block, or the fused model, is getting on."""

    round: int = 0
    rounds: int = 0
    asked: int = 0
    answered: int = 0
    validation_loss: float | None = None
    best_round: int = 0
    done: bool = False


@final
@dataclass
class RunState:
    """What the diary has told so far."""

    phase: str = "starting"
    waiting_for: tuple[str, ...] = ()
    sites: int = 0
    left_out: list[str] = field(default_factory=list)
    blocks: dict[str, BlockState] = field(default_factory=dict)
    status: str = ""
    reason: str = ""

    @property
    def ended(self) -> bool:
        """Whether the coordinator has written its last line."""
        return bool(self.status)

    def take(self, event: Event) -> str:
        """Take one event in, and give a line to print if it is worth one."""
        if event["event"] != "waiting":
            self.waiting_for = ()
        match event["event"]:
            case "offer":
                self.sites += 1
                return f"site {event['site']} offers {_counts(event['modalities'])}"
            case "left-out":
                self.left_out.append(event["site"])
                return f"site {event['site']} is left out: {event['reason']}"
            case "round-started":
                self._start_round(event)
            case "waiting":
                self.phase = _phase(event)
                unnamed = event["phase"] == "offer"  # who they are is what they are being asked
                self.waiting_for = (f"{len(event['for'])} sites",) if unnamed else tuple(event["for"])
            case "answered":
                self.blocks[event["modality"]].answered += 1
            case "round-finished":
                return self._finish_round(event)
            case "block-finished":
                self.blocks[event["modality"]].done = True
                return f"{event['modality']} done, round {event['kept_round']} kept"
            case "resumed":
                self.status, self.reason, self.sites = "", "", 0
                return f"the run goes on from checkpoint {event['checkpoint']}"
            case "finished":
                self.status, self.reason = event["status"], event["reason"]
        return ""

    def _start_round(self, event: Event) -> None:
        self.phase = _phase(event)
        names = [name for _, name in event["asked"] if name]
        for name in dict.fromkeys(names):
            block = self.blocks.setdefault(name, BlockState())
            block.round, block.rounds = event["round"], event["rounds"]
            block.asked, block.answered = names.count(name), 0

    def _finish_round(self, event: Event) -> str:
        block = self.blocks[event["modality"]]
        block.validation_loss, block.best_round = event["validation_loss"], event["best_round"]
        block.answered = len(event["answered"])
        return (
            f"{event['modality']} round {event['round']} of {block.rounds}: "
            f"{block.answered} of {block.asked} sites, validation loss {_loss(block.validation_loss)}"
        )

    def shown(self, *, seconds: float) -> RenderableType:
        """The state, for a terminal."""
        lines = [Text(f"{self.phase}, {self.sites} sites, {seconds:.0f} s", style="bold")]
        if self.waiting_for:
            lines.append(Text(f"waiting for {', '.join(self.waiting_for)}", style="yellow"))
        if self.left_out:
            lines.append(Text(f"left out: {', '.join(dict.fromkeys(self.left_out))}", style="yellow"))
        table = Table("block", "round", "sites", "validation loss", "best round", box=None, padding=(0, 2))
        for name, block in self.blocks.items():
            table.add_row(
                Text(name),
                f"{block.round} of {block.rounds}",
                f"{block.answered} of {block.asked}",
                _loss(block.validation_loss),
                f"{block.best_round}{' (done)' if block.done else ''}",
            )
        return Group(*lines, table) if self.blocks else Group(*lines)


@final
class Watch:
    """Keep a terminal up to date with a run; without one, print a line per round.

    Args:
        diary: The run's diary.
        console: Where to show it.
    """

    def __init__(self, diary: Path, console: Console) -> None:
        self._diary = Diary(diary)
        self._console = console
        self._started = self.last_event = time.monotonic()
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self.state = RunState()

    def __enter__(self) -> "Watch":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def look(self) -> None:
        """Take in what is new, and show it."""
        now = time.monotonic()
        for event in self._diary.new_events():
            self.last_event = now
            line = self.state.take(event)
            if line and not self._console.is_terminal:
                self._console.print(Text(f"{now - self._started:5.0f} s  {line}"), soft_wrap=True)
        if self._console.is_terminal:
            self._live.update(self.state.shown(seconds=now - self._started), refresh=True)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look again and again beside what the `with` block does."""
        done = threading.Event()

        def look_until_done() -> None:
            while not done.wait(LOOK_SECONDS):
                self.look()

        beside = threading.Thread(target=look_until_done, daemon=True)
        beside.start()
        try:
            yield
        finally:
            done.set()
            beside.join()
            self.look()


def _phase(event: Event) -> str:
    name = str(event["phase"])
    return PHASES.get(name, name)


def _loss(loss: float | None) -> str:
    return "none" if loss is None else f"{loss:.3f}"


def _counts(modalities: Mapping[str, int]) -> str:
    return ", ".join(f"{name} of {count} patients" for name, count in modalities.items())
