"""A log whose lines hang together: each carries the hash of the one before, so that no change stays unseen.

What `append` has returned from is on the disk. A line that was being written when the machine
died has no end; nobody acted on it, and it is taken away.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, final

from lego_core.errors import LogError

FIRST = "0" * 64  # what the first line carries in place of a hash


@final
class ChainedLog:
    """One file of chained JSON lines, to add to and to read.

    Args:
        path: The file; made, readable by its owner alone, if it is not there.

    Raises:
        LogError: If what is there was changed.

    Guarantees:
        Any line but the last ones changed, taken away, added or moved is found when the log is opened
        again. Lines cut off at the end are found by whoever knows `head`.
        Not against who may write the file and builds the whole chain anew: give `head` to
        others, or have it signed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[dict[str, Any]] = []
        self.head = FIRST
        self._read_bytes = 0
        self._left_as: tuple[int, int, int] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            _sync_folder(path.parent)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        with self.locked():
            pass

    @classmethod
    def anew(cls, path: Path) -> "ChainedLog":
        """Begin an empty log; one that was there is removed.

        Raises:
            LogError: If it cannot be.
        """
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error
        return cls(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep all other processes and threads from the log, and know what they have written.

        Raises:
            LogError: If what is there was changed, or cannot be read.
        """
        try:
            file = self.path.open("r+b")
        except OSError as error:
            raise _unwritable(self.path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
                self._catch_up(file)
            except OSError as error:
                raise _unwritable(self.path, error) from error
            yield

    def append(self, event: str, fields: Mapping[str, Any]) -> None:
        """Add an event; it is on the disk when this returns, or nothing of it is.

        Args:
            event: What happened.
            fields: Who, what, how much; never anything of a patient.

        Raises:
            LogError: If it cannot be written, or what is there was changed.
        """
        with self.locked():
            self.append_locked(event, fields)

    def append_locked(self, event: str, fields: Mapping[str, Any]) -> None:
        """The same, inside `locked`."""
        entry = {
            **fields,
            "number": len(self.events) + 1,
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "previous": self.head,
            "event": event,
        }
        line = json.dumps(entry, sort_keys=True).encode("ascii")
        try:
            with self.path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
                self._left_as = _signs(file)
        except OSError as error:
            self._left_as = None
            with suppress(OSError):  # what stays all the same is looked at before the next line
                os.truncate(self.path, self._read_bytes)
            raise _unwritable(self.path, error) from error
        self._take(line)

    def _catch_up(self, file: IO[bytes]) -> None:
        """Read anew what somebody else has touched, and cut off a line that was never finished."""
        if self._left_as == _signs(file):
            return
        lines = _whole_lines(file.read())
        self.events = check_chain(lines, name=self.path.name)
        self.head = _hash(lines[-1]) if lines else FIRST
        self._read_bytes = sum(len(line) + 1 for line in lines)
        file.truncate(self._read_bytes)
        self._left_as = _signs(file)

    def _take(self, line: bytes) -> None:
        self.events.append(json.loads(line))
        self.head = _hash(line)
        self._read_bytes += len(line) + 1


def check_chain(lines: list[bytes], *, name: str) -> list[dict[str, Any]]:
    """Read chained lines.

    Args:
        lines: Without their line ends.
        name: What to call the log.

    Raises:
        LogError: If a line was changed, taken away, added or moved; it names the first place.
    """
    events: list[dict[str, Any]] = []
    previous = FIRST
    for number, line in enumerate(lines, start=1):
        entry = _read(line)
        if (entry.get("number"), entry.get("previous")) != (number, previous):
            raise LogError(
                f"'{name}' was changed: line {number} does not follow from the one before it, or that "
                "one was changed. Nothing is added to a log that does not hold. Compare it with its last "
                "copy, and keep both."
            )
        events.append(entry)
        previous = _hash(line)
    return events


def verify_log(path: Path, *, known_head: str | None = None) -> tuple[list[dict[str, Any]], str]:
    """Read a log without touching it.

    Args:
        path: The file.
        known_head: The head that somebody noted earlier; the log must still hold that line.

    Returns:
        The events, and the head to note now.

    Raises:
        LogError: If the log cannot be read, was changed, or was cut off before the line that was noted.
    """
    try:
        lines = _whole_lines(path.read_bytes())
    except OSError as error:
        raise _unreadable(path, error) from error
    events = check_chain(lines, name=path.name)
    heads = [FIRST, *map(_hash, lines)]
    if known_head is not None and known_head not in heads:
        raise LogError(
            f"'{path.name}' holds {len(lines)} lines that follow from one another, and none of them is the "
            f"one noted as '{known_head[:12]}…': the log was cut off or written anew since. Compare it with "
            "its last copy, and keep both."
        )
    return events, heads[-1]


def torn_bytes(path: Path) -> int:
    """How much of a line that was never finished stands at the end of a log.

    Raises:
        LogError: If the file cannot be read.
    """
    try:
        return len(path.read_bytes().split(b"\n")[-1])
    except OSError as error:
        raise _unreadable(path, error) from error


def _whole_lines(written: bytes) -> list[bytes]:
    """The lines that have an end."""
    return written.split(b"\n")[:-1]


def _read(line: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _signs(file: IO[bytes]) -> tuple[int, int, int]:
    """What changes when somebody else writes: another file, another size, another time."""
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


def _unwritable(path: Path, error: OSError) -> LogError:
    return LogError(
        f"'{path.name}' cannot be written ({error.strerror}), and nothing is done that is not "
        "written down first. Make room on the disk, or mend the folder's rights, and go on.",
        local=str(path),
    )


def _unreadable(path: Path, error: OSError) -> LogError:
    return LogError(
        f"'{path.name}' cannot be read ({error.strerror}). Give the path of a log or ledger.",
        local=str(path),
    )


def _sync_folder(folder: Path) -> None:
    """Have the file's name on the disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
