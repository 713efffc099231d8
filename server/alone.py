"""One server at a time in a run's folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lego_core.errors import RunError


@contextmanager
def alone_in(output: Path) -> Iterator[Path]:
    """Keep every other server out of a run's folder, for as long as a `with` block lasts.

    Whoever resumes a run believes its server dead. Where it only was slow, or lost its SuperLink, two
    would write one run log and each other's checkpoints. The operating system ends the lock with
    its holder, however that ends.

    Args:
        output: The folder; it is made if it is not there.

    Raises:
        RunError: If another server works in it, or it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        handle = os.open(output, os.O_RDONLY)
    except OSError as error:
        raise RunError(
            f"The run's folder '{output.name}' cannot be opened ({error.strerror}). Make room on the disk, "
            "mend the rights, or name another output folder.",
            local=str(output),
        ) from error
    try:
        _lock(handle, output)
        yield output
    finally:
        os.close(handle)


def _lock(handle: int, output: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(
            f"Another server is at work in the run's folder '{output.name}'. Nothing was changed there. "
            "Wait for its end, or stop it; or name another output folder.",
            local=str(output),
        ) from error
