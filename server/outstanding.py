"""Which sites still work on a question whose answer is no longer waited for."""

import time
from dataclasses import dataclass, field
from typing import final

from flwr.serverapp import Grid

from server.run_log import RunLog


@dataclass(frozen=True, slots=True)
class _Late:
    node_id: int
    site: str
    expires: float


@final
@dataclass
class Outstanding:
    """Questions that nobody waits for any more, until the late answer comes or Flower gives them up.

    A site works through its questions one by one. Asked another one too early, it would never catch up.

    Args:
        grid: Flower's connection to the sites.
        log: Where a late answer is written down; the answer itself is dropped.
    """

    grid: Grid
    log: RunLog
    _late: dict[str, _Late] = field(default_factory=dict)

    def __contains__(self, node_id: int) -> bool:
        return any(one.node_id == node_id for one in self._late.values())

    def add(self, message_id: str, *, node_id: int, site: str, expires: float) -> None:
        """Note a question that went unanswered.

        Args:
            message_id: Flower's name of the message.
            node_id: Who was asked.
            site: Its name.
            expires: When Flower gives the message up, by the monotonic clock.
        """
        self._late[message_id] = _Late(node_id, site, expires)

    def collect(self) -> None:
        """Forget questions that were answered since, or that Flower gave up."""
        if not self._late:
            return
        for reply in self.grid.pull_messages(list(self._late)):
            late = self._late.pop(reply.metadata.reply_to_message_id, None)
            if late and not reply.has_error():
                self.log.write("answered-late", {"site": late.site})
        now = time.monotonic()
        self._late = {name: one for name, one in self._late.items() if one.expires > now}
