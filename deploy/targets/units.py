"""A process as a unit of systemd."""

import shlex
from pathlib import Path

from deploy.targets.processes import Process
from deploy.targets.templates import template

SYSTEM_PROGRAMS = {"nginx": "/usr/sbin/nginx"}


def unit(
    process: Process, *, title: str, programs: Path, checkout: Path, gpu: str, loopback_alone: bool
) -> str:
    """Write the unit file of a process.

    Args:
        process: What it may touch, and how it is started.
        title: Whose it is.
        programs: The folder of Python and of Flower's programs.
        checkout: Where this project's code lies, for a process that needs it.
        gpu: The graphics card; see `SiteInputs`.
        loopback_alone: Whether it has nothing to do with any network.
    """
    name = process.command[0]
    return template("systemd/process.service.jinja").render(
        process=process,
        title=title,
        program=SYSTEM_PROGRAMS.get(name) or programs / name,
        arguments=_arguments(process),
        runs_in=checkout if process.needs_checkout else process.folder,
        gpu=gpu,
        loopback_alone=loopback_alone,
    )


def _arguments(process: Process) -> str:
    """The arguments of a command, an option and its value to a line."""
    words = [_quoted(word) for word in process.command[1:]]
    return " ".join(f"\\\n    {word}" if word.startswith("--") else word for word in words)


def _quoted(word: str) -> str:
    """A word as systemd reads it; `$` and `%` mean something there."""
    plain = word.replace("%", "%%").replace("$", "$$")
    return f'"{plain}"' if shlex.quote(plain) != plain else plain
