"""One server at a time in a run's folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lego_core.errors import RunError

LOCK = ".lock"


@contextmanager
def alone_in(output: Path) -> Iterator[None]:
    """Keep every other server out of a run's folder for as long as a `with` block lasts.

    Whoever resumes a run believes its server dead. Where it only was slow, or lost its SuperLink, two
    would write one run log and each other's checkpoints. The operating system ends the lock with
    its holder, however that ends.

    Args:
        output: The folder.

    Raises:
        RunError: If another server has it, or nothing can be written there.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        handle = os.open(output / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise RunError(
            f"Nothing can be written to the run's folder '{output.name}' ({error.strerror}). Make room on the "
            "disk, mend the folder's rights, or name another output folder.",
            local=str(output),
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise RunError(
            f"Another server is at work in the run's folder '{output.name}'. Nothing was changed there. "
            "Stop that run first, or wait for its end; or name another output folder.",
            local=str(output),
        ) from error
    finally:
        os.close(handle)
