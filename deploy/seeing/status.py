"""The state of a run in a terminal."""

from collections.abc import Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deploy.seeing.clock import elapsed_seconds, expected_rest, seconds_since
from deploy.seeing.run_state import BlockState, RunState
from deploy.seeing.view import is_online, shown_status, waited_for
from deploy.seeing.words import STATUS, duration, phase_name

COLOURS = {"running": "cyan", "complete": "green", "complete-with-absences": "yellow"}
STANDINGS = {
    "here": "green",
    "waited for": "cyan",
    "absent": "red",
    "declined": "yellow",
    "left out": "yellow",
}
LAST = 8  # events
BAR = 12  # signs


def status_of(state: RunState, *, now: datetime) -> RenderableType:
    """Phase and round, sites, blocks, privacy, the last events."""
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in _parts(state, now=now)))


def exit_code(state: RunState, *, now: datetime) -> int:
    """0: running or complete; 1: failed; 3: nothing was written for longer than the plan waits."""
    return {"failed": 1, "stalled": 3}.get(shown_status(state, now=now), 0)


def _parts(state: RunState, *, now: datetime) -> Iterator[RenderableType]:
    yield _headline(state, now=now)
    for fault in state.faults[:3]:
        yield Text(f"The run log does not hold: line {fault.line}. {fault.sentence}", style="bold red")
    if state.sites:
        yield Group(_sites(state, now=now), *_refusals(state))
    if state.blocks:
        yield _blocks(state)
    if any(site.epsilon is not None for site in state.sites.values()):
        yield _privacy(state)
    if state.recommendation:
        yield Text(state.recommendation, style="bold")
    if state.told:
        yield _events(state)


def _headline(state: RunState, *, now: datetime) -> Text:
    status = shown_status(state, now=now)
    text = Text()
    text.append(state.plan or "no plan yet", style="bold")
    text.append("  ")
    text.append(STATUS.get(status, status), style=f"bold {COLOURS.get(status, 'red')}")
    text.append(f"  {duration(elapsed_seconds(state, now=now))}\n")
    if state.reason:
        text.append(f"{state.reason}\n")
    if state.ended:
        return text
    if status == "stalled":
        quiet = duration(seconds_since(state.last_event, now=now))
        text.append(f"Nothing was written for {quiet}: look whether the coordinator still runs.\n", "red")
    text.append(phase_name(state.phase))
    if state.phase in ("blocks", "fuse") and state.rounds:
        text.append(f", round {state.round} of {state.rounds}")
    rest = expected_rest(state)
    if rest is not None:
        text.append(f", rounds for about {duration(rest.total_seconds())} more at most")
    if state.waiting:
        waited, limit = duration(seconds_since(state.asked_at, now=now)), state.limit_seconds
        bound = f" of at most {duration(limit)}" if limit else ""
        text.append(f"\nwaiting for {', '.join(waited_for(state))}: {waited}{bound}", style="cyan")
    return text


def _sites(state: RunState, *, now: datetime) -> Table:
    """Who is there, and how many training patients of each modality."""
    online = sum(is_online(site) for site in state.sites.values())
    held = dict.fromkeys(
        [*state.modalities, *(name for one in state.sites.values() for name in one.patients)]
    )
    table = Table(title=f"{online} of {len(state.sites)} sites online", title_justify="left", box=None)
    for name in ("site", "standing", "last answer"):
        table.add_column(name, no_wrap=True)
    for name in (*held, "absences"):
        table.add_column(Text(name), justify="right")
    for name, site in sorted(state.sites.items()):
        standing = Text(site.standing, style=STANDINGS[site.standing])
        if site.waiting_since and not state.ended:
            standing.append(f" {duration(seconds_since(site.waiting_since, now=now))}")
        last = f"{site.last_answer:%H:%M:%S}" if site.last_answer else "none"
        counts = [str(site.patients.get(modality, "-")) for modality in held]
        table.add_row(Text(name), standing, last, *counts, str(len(site.absences)))
    return table


def _refusals(state: RunState) -> Iterator[Text]:
    """The last sentence of each site that is not here."""
    for name, site in sorted(state.sites.items()):
        if site.absences and site.standing in ("absent", "declined", "left out"):
            yield Text(f" {name}: {site.absences[-1].reason}", style="yellow")


def _blocks(state: RunState) -> Table:
    table = Table("model", "round", "sites", "validation loss", "score", "best round", box=None)
    for block in state.blocks.values():
        last = block.curve[-1] if block.curve else None
        sites = f"{last.answered} of {last.asked}" if last else ""
        loss, score = (last.validation_loss, last.validation_score) if last else (None, None)
        table.add_row(
            Text(block.modality), _progress(block), sites, _number(loss), _number(score), _best(block)
        )
    return table


def _progress(block: BlockState) -> str:
    if not block.rounds:
        return ""
    full = round(BAR * min(1.0, block.round / block.rounds))
    return f"{'█' * full}{'░' * (BAR - full)} {block.round} of {block.rounds}"


def _best(block: BlockState) -> str:
    return f"{block.best_round}{' (kept)' if block.done else ''}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _privacy(state: RunState) -> Table:
    budget = "" if state.epsilon is None else f" of {state.epsilon:g}"
    table = Table("site", f"epsilon spent{budget}", "delta", box=None)
    for name, site in sorted(state.sites.items()):
        if site.epsilon is None:
            continue
        share = min(1.0, site.epsilon / state.epsilon) if state.epsilon else 0.0
        full = round(BAR * share)
        bar = f"{'█' * full}{'░' * (BAR - full)} " if state.epsilon else ""
        table.add_row(Text(name), f"{bar}{site.epsilon:.2f}", f"{site.delta or 0:.1g}")
    return table


def _events(state: RunState) -> Table:
    table = Table("last events", "", box=None)
    for one in state.told[-LAST:]:
        table.add_row(f"{one.time:%H:%M:%S}", Text(one.sentence, style="yellow" if one.serious else ""))
    return table
