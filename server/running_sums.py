"""The sums of one attempt: which are still going on, why the others stay closed, and who was left out."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar, final

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1.server import ServerSession

T = TypeVar("T")


class LeaveOut(Protocol):
    """Writes down who takes no part, and why."""

    def __call__(self, site: str, about: str, reason: str, *, declined: bool = False) -> None: ...


@final
class RunningSums:
    """Sessions side by side, by the name of their sum.

    Args:
        sessions: As they begin.
        leave_out: Is told of every site that a session goes on without.
    """

    def __init__(self, sessions: Mapping[str, ServerSession], *, leave_out: LeaveOut) -> None:
        self.closed: dict[str, str] = {}
        self.sids = {group: session.described.sid.hex() for group, session in sessions.items()}
        self._going_on = dict(sessions)
        self._leave_out = leave_out
        self._told: dict[str, dict[str, str]] = {group: {} for group in sessions}

    @property
    def going_on(self) -> dict[str, ServerSession]:
        """Those that are not closed."""
        return dict(self._going_on)

    def of(self, site: str) -> dict[str, ServerSession]:
        """Those of them that a site takes part in."""
        return {
            group: session
            for group, session in self._going_on.items()
            if site in session.described.participants
        }

    def named(self, sid: str) -> str:
        """The sum that a session belongs to; nothing if there is no such session."""
        return next((group for group, one in self.sids.items() if one == sid), "")

    def step(self, group: str, take: Callable[[], None]) -> None:
        """Take one step of a sum, or close it; tell who was left out on the way."""
        session = self._going_on[group]
        try:
            take()
        except SecureSumError as error:
            self.closed[group] = error.public
            del self._going_on[group]
        for site, reason in session.left_out.items():
            if self._told[group].get(site) != reason:
                self._told[group][site] = reason
                self._leave_out(site, group, f"Site '{site}' is left out of the sum '{group}': {reason}.")

    def by_place(self, group: str, answers: Mapping[str, Mapping[str, T]]) -> dict[int, T]:
        """What the sites of one sum said of it, by place.

        Args:
            group: The sum.
            answers: By site and session.
        """
        sid, places = self.sids[group], self._going_on[group].described.places
        return {places[site]: one[sid] for site, one in answers.items() if site in places and sid in one}
