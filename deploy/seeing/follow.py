"""Follow a chained log as it grows: every whole line once, checked against the one before."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from lego_core.chained_log import FIRST
from lego_core.errors import LogError

AT_ONCE = 1 << 20  # bytes read in one look


@final
@dataclass(frozen=True)
class Line:
    """One whole line of a log.

    Args:
        place: Its number in the file, from 1.
        text: What stands there.
        event: The same, read; empty if it is no JSON object.
        follows: Whether it follows from the line before.
    """

    place: int
    text: str
    event: dict[str, Any]
    follows: bool


@final
class LogFollower:
    """Read a growing log, without ever touching it.

    Args:
        path: The file; it may not be there yet.

    Guarantees:
        A line without its end is left for the next look. A log that was begun anew, or cut short, is
        noticed (`started_anew`) and read from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._forget(inode=None)

    def _forget(self, *, inode: int | None) -> None:
        self._inode = inode
        self._offset = 0
        self._place = 0
        self._previous = FIRST

    def started_anew(self) -> bool:
        """Whether the file is no longer the one that was read so far; reading then begins anew.

        Raises:
            LogError: If the file is there and cannot be looked at.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            anew = self._offset > 0
            if anew:
                self._forget(inode=None)
            return anew
        except OSError as error:
            raise _unreadable(self.path, error) from error
        if self._inode == found.st_ino and found.st_size >= self._offset:
            return False
        anew = self._offset > 0
        self._forget(inode=found.st_ino)
        return anew

    def new_lines(self) -> Iterator[Line]:
        """The whole lines that were written since the last look.

        Raises:
            LogError: If the file is there and cannot be read.
        """
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unreadable(self.path, error) from error
        with file:
            file.seek(self._offset)
            torn = b""
            while piece := file.read(AT_ONCE):
                *whole, torn = (torn + piece).split(b"\n")
                for line in whole:
                    yield self._take(line)

    def _take(self, line: bytes) -> Line:
        self._offset += len(line) + 1
        self._place += 1
        event = _read(line)
        follows = (event.get("number"), event.get("previous")) == (self._place, self._previous)
        self._previous = hashlib.sha256(line).hexdigest()
        return Line(self._place, line.decode("utf-8", errors="replace"), event, follows)


def _read(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}


def _unreadable(path: Path, error: OSError) -> LogError:
    return LogError(
        f"'{path.name}' cannot be read ({error.strerror}). Run this as the user who runs the coordinator.",
        local=str(path),
    )
