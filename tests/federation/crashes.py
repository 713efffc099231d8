"""Runs that break off, and go on in another process, under another number of Flower's.

What a dead process leaves is the disk as it was. So one run, whose disk is copied at every question, stands
for as many runs that were killed there.
"""

import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from listening import ListeningGrid
from rehearsal import Rehearsal

from lego_core.errors import LegoError
from lego_core.plan import RunPlan
from lego_core.run_report import RunReport
from server.app import app as server_app
from simulations.in_process import SERVER_NODE_ID, Fault, RunConfig, answer_faithfully
from simulations.make_sites import make_sites

Answer = Callable[[], Message]


class KilledError(BaseException):
    """The server's process ends, wherever it is."""


@dataclass
class Attempts:
    """A run, and the folder it has, however often it breaks off.

    Args:
        plan: What to do.
        folder: Where its sites and its output lie.
        num_runs: How many runs Flower has had so far.
    """

    plan: RunPlan
    folder: Path
    num_runs: int = 0

    @classmethod
    def of(cls, plan: RunPlan, folder: Path) -> "Attempts":
        """A run that has not begun; its sites are made."""
        make_sites(plan, folder / "sites")
        return cls(plan, folder)

    @property
    def output(self) -> Path:
        """The coordinator's folder."""
        return self.folder / "output"

    @property
    def sites(self) -> list[Path]:
        """The folders of the sites."""
        return sorted((self.folder / "sites").glob("site-*"))

    @property
    def checkpoints(self) -> list[Path]:
        """Those that are there, the newest last."""
        return sorted((self.output / "checkpoints").iterdir())

    def copy(self, folder: Path) -> "Attempts":
        """The same run, in a copy of its folder."""
        shutil.copytree(self.folder, folder)
        return Attempts(self.plan, folder, self.num_runs)

    def run(
        self,
        fault: Fault = answer_faithfully,
        *,
        resume: bool = False,
        sites: int | None = None,
        checkpoint_key: str = "",
    ) -> Rehearsal:
        """Begin the run, or resume it: sites keep their folders, and forget all else.

        Args:
            fault: What goes wrong.
            resume: Whether it goes on.
            sites: How many come; all if not given.
            checkpoint_key: Path of the key.

        Raises:
            LegoError: If the run was refused before it left a report.
        """
        self.num_runs += 1
        run_config: RunConfig = {
            "plan": self.plan.name, "sites-dir": str(self.folder / "sites"), "output": str(self.output),
            "resume": resume, "checkpoint-key": checkpoint_key,
        }  # fmt: skip
        grid = ListeningGrid(sites or len(self.sites), run_config=run_config, fault=fault)
        for context in grid.contexts:
            context.run_id = self.num_runs
        context = Context(self.num_runs, SERVER_NODE_ID, {}, RecordDict(), run_config)
        written = {path: _stamp(path) for path in self._reports}
        error = None
        try:
            server_app(grid, context)
        except LegoError as raised:
            error = raised
        path = self._reports[0 if error else 1]
        if error and _stamp(path) == written[path]:
            raise error
        report = RunReport.model_validate_json(path.read_bytes())
        return Rehearsal(self.plan, self.output, self.folder / "sites", report, error, grid)

    @property
    def _reports(self) -> tuple[Path, Path]:
        return self.output / "report.json", self.output / "bundle" / "report.json"


@dataclass
class Snapshots:
    """A fault that copies the disk as it is when a question has come to a site.

    Args:
        attempts: The run.
        folder: Where to put the copies.
        wanted: Which questions, by kind and how many of the kind there were before; all if not given.
        answered: Whether the site has answered, so that its own records know of it.
        fault: What goes wrong besides.
    """

    attempts: Attempts
    folder: Path
    wanted: Collection[tuple[str, int]] | None = None
    answered: bool = True
    fault: Fault = answer_faithfully
    taken: dict[tuple[str, int], Attempts] = field(default_factory=dict)
    _asked: dict[str, int] = field(default_factory=dict)

    def __call__(self, site: int, message: Message, answer: Answer) -> Message | None:
        """Answer, and copy."""
        kind = message.metadata.message_type
        number = self._asked.get(kind, 0)
        self._asked[kind] = number + 1
        if not self.answered:
            self._copy(kind, number)
        reply = self.fault(site, message, answer)
        if self.answered:
            self._copy(kind, number)
        return reply

    def _copy(self, kind: str, number: int) -> None:
        if self.wanted is None or (kind, number) in self.wanted:
            self.taken[kind, number] = self.attempts.copy(self.folder / f"{kind}-{number}")


@dataclass
class Killed:
    """A fault that ends the server at a question.

    Args:
        kind: Of the questions that count.
        number: How many of them come before.
        fault: What goes wrong besides.
    """

    kind: str
    number: int = 0
    fault: Fault = answer_faithfully
    _asked: int = field(default=0, init=False)

    def __call__(self, site: int, message: Message, answer: Answer) -> Message | None:
        """Answer, until it is time."""
        reply = self.fault(site, message, answer)
        if message.metadata.message_type == self.kind:
            self._asked += 1
            if self._asked > self.number:
                raise KilledError
        return reply


def _stamp(path: Path) -> tuple[int, int] | None:
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
