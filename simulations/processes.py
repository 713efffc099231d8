"""Start programs so that they, and all that they start, can be found again and stopped.

Flower starts Ray and Ray starts workers, some of them detached from whoever started them. But
all inherit the environment. So a mark in it tells, by process id, who belongs to a run.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from lego_core.errors import RunError

MARK = "LEGO_FEDERATION_RUN"


def environment(mark: str, settings: dict[str, str]) -> dict[str, str]:
    """The user's environment with a mark, our own programs first, and nobody's PYTHONPATH."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**inherited, "PATH": path, MARK: mark, **settings}


def program(name: str) -> str:
    """A program of the Python that runs this, whatever is first on the path.

    Raises:
        RunError: If it is not installed.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise RunError(
            f"The program '{name}' is not installed here. Install this project with its extra 'simulation', "
            "or use --engine in-process."
        )
    return found


def marked(mark: str) -> list[psutil.Process]:
    """Every process that carries the mark."""
    return [process for process in psutil.process_iter() if _mark_of(process) == mark]


def stop_marked(mark: str, *, patience_seconds: float) -> None:
    """Wait for every process that carries the mark, then ask it to end, then end it.

    Raises:
        RunError: If one is still there after all.
    """
    psutil.wait_procs(marked(mark), timeout=patience_seconds)
    for signal in (psutil.Process.terminate, psutil.Process.kill):
        left = marked(mark)
        for process in left:
            _send(signal, process)
        psutil.wait_procs(left, timeout=patience_seconds)
    if survivors := marked(mark):
        raise RunError(
            f"{len(survivors)} processes of this run could not be stopped, with ids "
            f"{[process.pid for process in survivors]}. Stop them by hand."
        )


def _mark_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None


def _send(signal: Callable[[psutil.Process], None], process: psutil.Process) -> None:
    try:
        signal(process)
    except psutil.NoSuchProcess:
        return
