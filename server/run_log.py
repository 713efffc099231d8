"""The diary of a run: one chained JSON line per event, on the coordinator's disk as it happens.

Whoever wants to know what a run is doing, or did, reads this file and nothing else. The
report is made from the same events.
"""

import logging
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from lego_core.chained_log import ChainedLog, torn_bytes, verify_log
from lego_core.component import Component
from lego_core.run_report import LearningPoint, LeftOut, Resumed, RoundSummary
from lego_core.sum_letters import Spent

FLOWER_LOG = logging.getLogger("flwr")  # what `flwr run . --stream` and `flwr log` show
SAID_ALOUD = {
    "offer": "site {site} takes part with {modalities}",
    "left-out": "site {site} is left out: {reason}",
    "round-finished": "{modality}, round {round}: validation loss {validation_loss}",
    "checkpoint-damaged": "{reason}",
    "resumed": "the run goes on from checkpoint {checkpoint}",
    "recommended": "{sentence} {afterwards}",
    "travelling": "{direction} site {site}: {mebibytes} of {of_mebibytes} MiB",
    "finished": "{status} {reason} bundle: {bundle}; report: {report}",
}

Told = TypeVar("Told", bound=Component)


class RunLog:
    """Write events down, say the main ones aloud, and keep those that the report is made of.

    Args:
        path: The file.
        resumes: Head of the log where a run goes on that broke off; if not given, the file is started anew.
            Events after it are of work that is done again: they stay on record, and the report leaves
            them out, but for what private training has cost.

    Raises:
        LogError: If it cannot be written; if it was changed, or holds no such head.
    """

    def __init__(self, path: Path, *, resumes: str | None = None) -> None:
        self.torn_bytes = 0
        if resumes is None:
            self._log = ChainedLog.anew(path)
        else:
            verify_log(path, known_head=resumes)
            self.torn_bytes = torn_bytes(path)
            self._log = ChainedLog(path)
        events = self._log.events
        counted = list(takewhile(lambda one: one["previous"] != resumes, events))
        self.started = datetime.fromisoformat(events[0]["time"]) if events else datetime.now(UTC)
        self.lots = str(events[0]["lots"]) if events else secrets.token_hex(32)
        self.lines_done_again = len(events) - len(counted)
        self.left_out = _told(LeftOut, "left-out", counted)
        self.learning = _told(LearningPoint, "answered", counted)
        self.rounds = _told(RoundSummary, "round-finished", counted)
        self.resumed = _told(Resumed, "resumed", events)
        self.spent = {
            one["site"]: Spent.model_validate({key: one[key] for key in ("epsilon", "delta", "ledger-head")})
            for one in events
            if one["event"] == "privacy-spent"
        }
        self.last_opened = {
            one["sum"]: frozenset(one["sites"]) for one in counted if one["event"] == "sum-opened"
        }
        self.asked_to_open = {
            (one["sum"], one["weights_sha256"]): frozenset(one["sites"])
            for one in events
            if one["event"] == "opening-asked"
        }

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

    def round_finished(self, summary: RoundSummary, *, best_round: int, score: float | None = None) -> None:
        """A block's round is aggregated.

        Args:
            summary: Who was asked, who answered, the loss.
            best_round: The round whose weights did best so far.
            score: The main metric on the validation patients of all sites, where they are not too few.
        """
        self.rounds.append(summary)
        told = {"best_round": best_round, "validation_score": score}
        self.write("round-finished", {**summary.model_dump(), **told})

    def going_on(self, checkpoint: str, damaged: Mapping[str, str]) -> None:
        """The run goes on from a checkpoint.

        Args:
            checkpoint: Its name.
            damaged: Why later ones do not hold, by name.
        """
        for name, reason in damaged.items():
            self.write("checkpoint-damaged", {"checkpoint": name, "reason": reason})
        told = {"lines_done_again": self.lines_done_again, "torn_bytes": self.torn_bytes}
        one = Resumed(checkpoint=checkpoint, when=datetime.now(UTC).isoformat(timespec="seconds"))
        self.resumed.append(one)
        self.write("resumed", {**one.model_dump(), **told})

    @property
    def head(self) -> str:
        """Hash of the last line: whoever notes it sees later whether lines were taken away."""
        return self._log.head

    @property
    def seconds(self) -> float:
        """Time since the run started."""
        return (datetime.now(UTC) - self.started).total_seconds()


def _told(kind: type[Told], event: str, lines: list[dict[str, Any]]) -> list[Told]:
    """What some lines hold that were written of one kind of thing."""
    return [
        kind.model_validate({key: one[key] for key in kind.model_fields if key in one})
        for one in lines
        if one["event"] == event
    ]
