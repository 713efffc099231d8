"""The diary of a run: one chained JSON line per event, on the coordinator's disk as it happens.

Whoever wants to know what a run is doing, or did, reads this file and nothing else. The
report is made from the same events.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from lego_core.chained_log import ChainedLog
from lego_core.run_report import LearningPoint, LeftOut, RoundSummary
from lego_core.sum_letters import Spent

FLOWER_LOG = logging.getLogger("flwr")  # what `flwr run . --stream` and `flwr log` show
SAID_ALOUD = {
    "offer": "site {site} takes part with {modalities}",
    "left-out": "site {site} is left out: {reason}",
    "round-finished": "{modality}, round {round}: validation loss {validation_loss}",
    "recommended": "{sentence} {afterwards}",
    "travelling": "{direction} site {site}: {mebibytes} of {of_mebibytes} MiB",
    "finished": "{status} {reason} bundle: {bundle}; report: {report}",
}


class RunLog:
    """Write events down, say the main ones aloud, and keep those that the report is made of.

    Args:
        path: The file; it is started anew.

    Raises:
        LogError: If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._log = ChainedLog.anew(path)
        self.started = datetime.now(UTC)
        self.left_out: list[LeftOut] = []
        self.learning: list[LearningPoint] = []
        self.rounds: list[RoundSummary] = []
        self.spent: dict[str, Spent] = {}

    def write(self, event: str, fields: Mapping[str, object]) -> None:
        """Write one event; it is on the disk when this returns.

        Raises:
            LogError: If it cannot be written, or somebody changed what is there.
        """
        self._log.append(event, fields)
        if event in SAID_ALOUD:
            short = {key: round(one, 3) if isinstance(one, float) else one for key, one in fields.items()}
            FLOWER_LOG.info(SAID_ALOUD[event].format_map(short))

    def leave_out(self, left_out: LeftOut) -> None:
        """A site takes no part in something, and why."""
        self.left_out.append(left_out)
        self.write("left-out", left_out.model_dump())

    def answered(self, point: LearningPoint) -> None:
        """A site's answer in a round was taken."""
        self.learning.append(point)
        self.write("answered", point.model_dump())

    def privacy_spent(self, site: str, spent: Spent | None) -> None:
        """What a site's private training has cost so far."""
        if spent and spent != self.spent.get(site):
            self.spent[site] = spent
            self.write("privacy-spent", {"site": site, **spent.to_plain()})

    def round_finished(self, summary: RoundSummary, *, best_round: int) -> None:
        """A block's round is aggregated and on the disk."""
        self.rounds.append(summary)
        self.write("round-finished", {**summary.model_dump(), "best_round": best_round})

    @property
    def head(self) -> str:
        """Hash of the last line: whoever notes it sees later whether lines were taken away."""
        return self._log.head

    @property
    def seconds(self) -> float:
        """Time since the run started."""
        return (datetime.now(UTC) - self.started).total_seconds()
