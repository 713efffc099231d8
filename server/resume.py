"""Where a run broke off, and whether what is about to resume it is the same run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from flwr.app import Context
from pydantic import ValidationError

from lego_core.chained_log import verify_log
from lego_core.component import explain
from lego_core.errors import RunError
from lego_core.plan import RunPlan
from server.checkpoint import States, newest, number_of
from server.run_log import RunLog
from server.run_state import LearnerState, RunIdentity, RunState
from server.setting import roster_of, vault_of


@final
@dataclass(frozen=True, eq=False)
class Before:
    """What a run that broke off has left.

    Args:
        name: Its newest checkpoint that holds.
        number: The number of this checkpoint.
        state: What it says.
        tensors: What stands beside it.
        damaged: Why later checkpoints do not hold, by name.
    """

    name: str
    number: int
    state: RunState
    tensors: States
    damaged: Mapping[str, str]

    def learner(self, name: str) -> LearnerState | None:
        """How far a model was trained; None if its training had not begun."""
        return next((one for one in self.state.learners if one.name == name), None)


def before_of(context: Context, plan: RunPlan) -> Before | None:
    """What the run that is to be resumed has left; None if this one is to begin anew.

    Raises:
        RunError: If there is no such run, it is complete, none of its checkpoints holds, or it is another
            run: of another plan, roster or version of this code.
        LogError: If its run log cannot be read, or was changed.
        PrivacyError: If the key of the checkpoints cannot be read.
    """
    if not context.run_config.get("resume", False):
        return None
    vault = vault_of(context)
    folder = vault.folder.parent
    if not (folder / "run.jsonl").is_file() or not vault.checkpoints():
        raise RunError(
            f"There is no run to resume in '{folder.name}': it has no run log with checkpoints beside it. "
            "Name the output folder of the run that broke off, or begin a new one without resume.",
            local=str(folder),
        )
    _check_unfinished(folder)
    found, damaged = newest(vault)
    if found is None:
        first = next(iter(damaged.values()))
        raise RunError(
            f"None of the {len(damaged)} checkpoints in '{folder.name}' can be used. {first} If none can be "
            "mended, begin a new run in another output folder; a copy of this one may still hold.",
            local=str(folder),
        )
    try:
        state = RunState.model_validate(found.state)
    except ValidationError as error:
        raise explain(error, where=f"Checkpoint '{found.name}'", kind=RunError) from error
    roster = roster_of(context) if plan.privacy.sum_terms else None
    state.identity.check(RunIdentity.of(plan, roster_sha256=roster.sha256 if roster else None))
    return Before(found.name, number_of(Path(found.name)), state, found.tensors, damaged)


def log_of(context: Context, before: Before | None) -> RunLog:
    """The run's log: begun anew, or gone on with where the checkpoint stands.

    Raises:
        LogError: If it cannot be written, was changed, or ends before the checkpoint.
    """
    path = Path(str(context.run_config["output"])) / "run.jsonl"
    return RunLog(path, resumes=before.state.run_log_head if before else None)


def _check_unfinished(folder: Path) -> None:
    """Refuse to resume a run that came to its end.

    Raises:
        RunError: If it did.
    """
    events, _ = verify_log(folder / "run.jsonl")
    ended = [one for one in events if one["event"] == "finished" and one["status"] != "failed"]
    if ended:
        raise RunError(
            f"The run in '{folder.name}' is {ended[0]['status']} since {ended[0]['time']}, and there is "
            "nothing to resume. Its bundle and its report are in that folder; to run it once more, name "
            "another one.",
            local=str(folder),
        )
