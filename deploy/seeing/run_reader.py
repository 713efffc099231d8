"""RunReader: the state of a run, from its diary, as often as one likes to look."""

from pathlib import Path
from typing import final

from deploy.seeing._fold import after_lines
from deploy.seeing.follow import LogFollower
from deploy.seeing.run_state import RunState
from lego_core.errors import RunError

LOG = "run.jsonl"


@final
class RunReader:
    """Follow one run; each look reads only what is new.

    Args:
        folder: The run's output folder; the run may not have begun yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = RunState()
        self._follower = LogFollower(folder / LOG)

    def look(self) -> RunState:
        """Read what was written since the last look.

        Raises:
            LogError: If the diary is there and cannot be read.
        """
        if self._follower.started_anew():
            self.state = RunState()
        self.state = after_lines(self.state, self._follower.new_lines())
        return self.state


def latest_run(folder: Path) -> Path:
    """The folder of the run that was written to last, in a folder of runs or of one.

    Raises:
        RunError: If there is no diary.
    """
    runs = find_runs(folder)
    if not runs:
        raise RunError(
            f"There is no '{LOG}' in '{folder}' nor in the folders below, so no run has begun there. Name "
            "the output folder of a run (key output of the run's configuration, --output of a rehearsal)."
        )
    return next(iter(runs.values()))


def find_runs(folder: Path, *, depth: int = 2) -> dict[str, Path]:
    """The runs in a folder: itself, or those in the folders below.

    Args:
        folder: Where to look.
        depth: How many folders down.

    Returns:
        Their folders by name, those with the latest event first.
    """
    found = [folder] if (folder / LOG).is_file() else []
    for level in range(1, depth + 1):
        found += [path.parent for path in folder.glob("*/" * level + LOG)]
    found.sort(key=_last_written, reverse=True)
    return {
        name if (name := run.relative_to(folder).as_posix()) != "." else folder.name: run for run in found
    }


def _last_written(run: Path) -> float:
    try:
        return (run / LOG).stat().st_mtime
    except OSError:  # taken away between two looks
        return 0.0
