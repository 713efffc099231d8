"""What commands say, and how they say what went wrong."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

import typer
from rich.console import Console
from rich.text import Text

from lego_core.errors import LegoError


def say(*lines: str) -> None:
    """Print lines as they are."""
    console = Console()
    for line in lines:
        console.print(Text(line), soft_wrap=True)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say an error of ours as the sentences it is, and end with code 2; any other keeps its traceback."""
    try:
        yield
    except LegoError as error:
        console = Console(stderr=True)
        for line in (error.public, error.local):
            if line:
                console.print(Text(line), soft_wrap=True)
        raise typer.Exit(2) from None


def today() -> date:
    """The day, as certificates and rosters count it."""
    return datetime.now(UTC).date()


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that what was started is stopped in its order."""
    told = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: told.set()) for number in numbers}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
