"""Files and folders that their owner alone may use; whole or not at all."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.errors import DeployError

MOST_BYTES = 1024 * 1024


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder that appears when all of it is there, and not at all if anything fails.

    Args:
        folder: Its place; nothing, or an empty folder, may be there.

    Yields:
        Where to write meanwhile.

    Raises:
        DeployError: If something is there already, or nothing can be written.
    """
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise DeployError(
            f"There is something at '{folder.name}' already, and nothing is ever written over. Choose "
            "another folder, or move this one away.",
            local=str(folder),
        )
    unfinished = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished.mkdir(mode=0o700)
        yield unfinished
        unfinished.replace(folder)
    except OSError as error:
        raise not_written(folder, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def make_folder(folder: Path) -> Path:
    """Make a folder for its owner alone."""
    folder.mkdir(mode=0o700)
    return folder


def write(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may use, whole or not at all; one that was there is replaced.

    Raises:
        DeployError: If it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        with open(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise not_written(path, error) from error


def read(path: Path, *, what: str) -> bytes:
    """Read a file.

    Args:
        path: The file.
        what: What it is, as an error calls it.

    Raises:
        DeployError: If it cannot be read, or is larger than any such file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DeployError(
            f"{what} '{path.name}' cannot be read ({error.strerror}). Look whether the path is right, or "
            "bring the file back from your backup.",
            local=str(path),
        ) from error
    if len(content) > MOST_BYTES:
        raise DeployError(
            f"{what} '{path.name}' is larger than {MOST_BYTES} bytes, and none is. Give the right file.",
            local=str(path),
        )
    return content


def check_private(path: Path) -> None:
    """Make sure that nobody but the owner may use a file or folder.

    Raises:
        DeployError: If others may, or it is not there.
    """
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise DeployError(
            f"'{path.name}' cannot be looked at ({error.strerror}). Bring it back from your backup.",
            local=str(path),
        ) from error
    if mode & 0o077:
        right = "700" if path.is_dir() else "600"
        raise DeployError(
            f"'{path.name}' may be used by others than its owner (its rights are {mode:03o}), so it may not "
            f"be secret any more. Take their rights away (chmod {right}), and make new keys if others use "
            "this machine.",
            local=str(path),
        )


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one command at a time change a folder.

    Raises:
        DeployError: If another command is at it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise DeployError(
            f"Another command is changing '{folder.name}' right now. Wait for it to end, and try again.",
            local=str(folder),
        ) from error
    finally:
        os.close(handle)


def not_written(path: Path, error: OSError) -> DeployError:
    """The error of a disk that is full, or of rights that are missing."""
    return DeployError(
        f"'{path.name}' cannot be written ({error.strerror}). Make room, or choose a folder that you may "
        "write to.",
        local=str(path),
    )
