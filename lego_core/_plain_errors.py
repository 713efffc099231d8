"""What the command line says when something of ours went wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.text import Text

from lego_core.errors import LegoError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say the public text, and end with code 2."""
    try:
        yield
    except LegoError as error:
        Console(stderr=True).print(Text(error.public, style="bold red"))
        raise typer.Exit(2) from error
