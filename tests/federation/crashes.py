"""Runs that break off at some question, and go on in another process with another number of Flower's."""

from collections.abc import Callable, Iterable
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


class KilledError(BaseException):
    """The server's process ends, wherever it is."""


@dataclass
class Killed:
    """A fault that ends the server when a question is asked.

    Args:
        at: The number of the question, from 0; of those of the kind, if one is given.
        kind: Of the questions that count.
        answered: Whether the site has answered, so that its own records know of it.
    """

    at: int
    kind: str = ""
    answered: bool = True
    asked: int = field(default=0, init=False)

    def __call__(self, site: int, message: Message, answer: Callable[[], Message]) -> Message | None:
        """Answer, until it is time."""
        if self.kind in ("", message.metadata.message_type):
            self.asked += 1
            if self.asked > self.at:
                if self.answered:
                    answer()
                raise KilledError
        return answer()


@dataclass
class Attempts:
    """A run and the folder it has, however often it breaks off.

    Args:
        plan: What to do.
        folder: An empty folder.
        num_runs: How many runs Flower has had so far.
    """

    plan: RunPlan
    folder: Path
    num_runs: int = 0
    num_sites: int = field(init=False)

    def __post_init__(self) -> None:
        self.num_sites = len(make_sites(self.plan, self.folder / "sites"))

    @property
    def output(self) -> Path:
        """The coordinator's folder."""
        return self.folder / "output"

    @property
    def checkpoints(self) -> list[str]:
        """Names of those that are there."""
        return sorted(one.name for one in (self.output / "checkpoints").iterdir())

    def run(
        self,
        fault: Fault = answer_faithfully,
        *,
        resume: bool = False,
        sites: int | None = None,
        **run_config: str,
    ) -> Rehearsal:
        """Begin the run, or resume it; sites keep their folders, and forget all else."""
        self.num_runs += 1
        config: RunConfig = {
            "plan": self.plan.name,
            "sites-dir": str(self.folder / "sites"),
            "output": str(self.output),
            "resume": resume,
            **{key.replace("_", "-"): value for key, value in run_config.items()},
        }
        grid = ListeningGrid(sites or self.num_sites, run_config=config, fault=fault)
        for context in grid.contexts:
            context.run_id = self.num_runs
        context = Context(self.num_runs, SERVER_NODE_ID, {}, RecordDict(), config)
        error = None
        try:
            server_app(grid, context)
        except LegoError as raised:
            error = raised
        name = "report.json" if error else "bundle/report.json"
        written = self.output / name
        if error and not written.is_file():
            raise error
        report = RunReport.model_validate_json(written.read_bytes())
        return Rehearsal(self.plan, self.output, self.folder / "sites", report, error, grid)

    def kill(self, fault: Fault, *, resume: bool = False) -> None:
        """Run until the server is killed."""
        try:
            self.run(fault, resume=resume)
        except KilledError:
            return
        raise AssertionError("the run came to its end before it could be killed")


def kinds_of(questions: Iterable[Message]) -> list[str]:
    """What was asked, in order."""
    return [one.metadata.message_type for one in questions]
