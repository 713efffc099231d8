"""What every surface shows of a run at one moment: its state, and what the clock adds to it."""

from datetime import datetime
from typing import Any

from deploy.seeing.clock import elapsed_seconds, expected_rest, is_stalled, seconds_since
from deploy.seeing.run_state import RunState, SiteState
from deploy.seeing.words import PHASES, STATUS, phase_name


def view_of(state: RunState, *, now: datetime) -> dict[str, Any]:
    """The state as JSON, with what is said in words, and the seconds until now."""
    rest = expected_rest(state)
    return {
        **state.model_dump(mode="json", exclude={"answers"}),
        "now": now.isoformat(),
        "status": shown_status(state, now=now),
        "status_text": STATUS.get(shown_status(state, now=now), state.status),
        "phase_text": "" if state.ended else phase_name(state.phase),
        "phase_names": PHASES,
        "waiting": waited_for(state),
        "elapsed_seconds": elapsed_seconds(state, now=now),
        "waited_seconds": seconds_since(state.asked_at, now=now) if state.waiting else None,
        "silent_seconds": None if state.ended else seconds_since(state.last_event, now=now),
        "rest_seconds": None if rest is None else rest.total_seconds(),
        "sites_online": sum(is_online(site) for site in state.sites.values()),
    }


def shown_status(state: RunState, *, now: datetime) -> str:
    """`stalled` for a run that has written nothing for too long; otherwise what the diary says."""
    return "stalled" if is_stalled(state, now=now) else state.status


def is_online(site: SiteState) -> bool:
    """Whether the site is there, as far as the coordinator can know: it answered last, or may still."""
    return site.standing in ("here", "waited for", "declined")


def waited_for(state: RunState) -> list[str]:
    """Names of those who are waited for; sites that have not said who they are yet are counted."""
    named = [name for name in state.waiting if name in state.sites]
    unnamed = len(state.waiting) - len(named)
    if not unnamed:
        return named
    return [*named, f"{unnamed} {'site' if unnamed == 1 else 'sites'} without a name yet"]
