"""Is this the software that the federation runs?"""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises
from lego_core.errors import DataError

MUST_MATCH = ("flwr",)  # SuperLink and SuperNode of another release refuse each other
SHOULD_MATCH = ("torch", "numpy", "pydantic", "safetensors", "opacus", "cryptography")
OLDEST_PYTHON = (3, 11)


@final
class Versions(AbstractCheck):
    """Python and the packages that matter, against the federation's list of versions (`constraints.txt`)."""

    name = "versions"
    asks = "Are Python and packages those of the federation?"

    def look(self, premises: Premises) -> Finding:
        wanted = _pins(premises.wish.constraints)
        here: dict[str, str | float | int] = {"python": platform.python_version()}
        wrong, other = [], []
        for name in (*MUST_MATCH, *SHOULD_MATCH):
            here[name] = found = _version_of(name)
            if name not in wanted or _release(found) == _release(wanted[name]):
                continue
            line = f"{name} {found} in place of {wanted[name]}"
            is_wrong = name in MUST_MATCH or found == "none"
            (wrong if is_wrong else other).append(line)
        if tuple(map(int, platform.python_version_tuple()[:2])) < OLDEST_PYTHON:
            wrong.append(f"Python {here['python']} in place of 3.11 or later")
        limits = {name: wanted[name] for name in here if name in wanted}
        todo = "Install them anew: pip install -e '.[federation]' -c constraints.txt"
        if wrong:
            return self.fix(f"There is {'; '.join(wrong + other)}.", todo, measured=here, limits=limits)
        if other:
            return self.look_at(f"There is {'; '.join(other)}.", todo, measured=here, limits=limits)
        return self.passed(f"Python {here['python']}, flwr {here['flwr']}, torch {here['torch']}.",
                           measured=here, limits=limits)  # fmt: skip


def _pins(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(
            f"The list of versions '{path.name}' cannot be read ({error.strerror}). Take the one that came "
            "with "
            "the code, or name it with --constraints.",
            local=str(path),
        ) from error
    pins = (line.split("#")[0].strip().partition("==") for line in lines)
    return {name.strip().lower(): pinned.split(";")[0].strip() for name, _, pinned in pins if pinned}


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _release(text: str) -> str:
    """A version without the build it is of (`2.13.0+cpu`)."""
    return text.split("+")[0]
