"""What depends on the time of the look: how long it takes, how long it will, whether it stands still."""

from datetime import datetime, timedelta

from deploy.seeing.run_state import RunState

QUIET = 120.0  # seconds without an event that are borne, where the diary does not say how long to wait
PATIENCE = 30.0  # besides the wait itself: to aggregate, to write


def seconds_since(time: datetime | None, *, now: datetime) -> float:
    """How long ago that was; never below zero, whatever the clocks say."""
    return max(0.0, (now - time).total_seconds()) if time else 0.0


def elapsed_seconds(state: RunState, *, now: datetime) -> float:
    """How long the run has taken, or took."""
    end = state.last_event if state.ended and state.last_event else now
    return seconds_since(state.began, now=end)


def is_stalled(state: RunState, *, now: datetime) -> bool:
    """Whether nothing was written for longer than anything in the plan may take.

    The coordinator writes a line every five seconds while it waits; the wait of the plan is borne all
    the same, for it may be computing.
    """
    if state.status != "running":
        return False
    bound = state.limit_seconds or state.round_seconds or QUIET
    return seconds_since(state.last_event, now=now) > bound + PATIENCE


def expected_rest(state: RunState) -> timedelta | None:
    """How long the rounds that are left will take at most, by those measured; None before there are any.

    Fuse rounds count as long as block rounds until one is measured. Blocks may stop early.
    """
    if state.ended or state.phase not in ("blocks", "merge", "fuse"):
        return None
    left = {"blocks": 0, "fuse": state.fuse_rounds}
    if state.phase in left:
        done = [span.round for span in state.round_spans if span.phase == state.phase and span.ended]
        planned = state.rounds or (state.block_rounds if state.phase == "blocks" else state.fuse_rounds)
        left[state.phase] = planned - max(done, default=0)
    typical = {phase: _mean_round(state, phase) for phase in left}
    spare = typical["blocks"] or typical["fuse"]
    if spare is None:
        return None
    return sum(((typical[phase] or spare) * count for phase, count in left.items()), timedelta())


def _mean_round(state: RunState, phase: str) -> timedelta | None:
    """The mean of the last five rounds."""
    spans = [span.ended - span.began for span in state.round_spans if span.phase == phase and span.ended][-5:]
    return sum(spans, timedelta()) / len(spans) if spans else None
