"""Flower's SuperNode, with short waits and approved code alone. `python -m deploy.pinned_supernode SITE …`.

Flower itself accepts code only if its makers' hub has signed it, so the place where it looks at signatures is
given another question: has this site approved the hash? These are names that Flower keeps to itself;
`tests/deployment/test_pinning.py` says when they change, and then no code runs at all.

This module imports nothing of this project that would bring torch along: a SuperNode needs none.
"""

import hashlib
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flwr.app import Error
from flwr.common.constant import ErrorCode
from flwr.supercore.fab import Fab

from deploy.quick_node import quick

APPROVED = Path("approved") / "approved.json"  # as `deploy/approved_code.py` writes it
RECEIVES = ("flwr.supernode.fleet_http_connection", "fab_from_proto")
ASKS = ("flwr.supernode.start_client_internal", "_verify_fab")
REFUSES = ("flwr.supernode.start_client_internal", "FAB_VERIFICATION_ERROR")
NOT_APPROVED = (
    "This site has not approved the code of this run. Send its operator the code bundle; 'python -m deploy "
    "approve-bundle' shows what is in it, and lets it run."
)


def pin(site: Path) -> None:
    """Have the SuperNode of this process run what a site approved, and nothing else.

    Args:
        site: The site's folder.

    Raises:
        ImportError: If this Flower looks at signatures somewhere else.
    """
    missing = [f"{module}.{name}" for module, name in (RECEIVES, ASKS, REFUSES) if not _there(module, name)]
    if missing:
        raise ImportError(
            f"Flower {version('flwr')} has no {missing[0]}, where approved code is told from other code. "
            "Install the Flower that this project was made for (constraints.txt)."
        )
    receive = _get(*RECEIVES)

    def received(packed: Any) -> Fab:
        fab: Fab = receive(packed)
        fab.verifications["valid_license"] = "asked below"  # Flower asks nothing where this is empty
        return fab

    def asked(fab: Fab, _: dict[str, str]) -> bool:
        return approves(site, fab.content)

    _set(*RECEIVES, received)
    _set(*ASKS, asked)
    _set(*REFUSES, Error(ErrorCode.INVALID_FAB, NOT_APPROVED))


def approves(site: Path, content: bytes) -> bool:
    """Whether a site runs this code; what stands against it goes to the log."""
    sha256, log = hashlib.sha256(content).hexdigest(), logging.getLogger("flwr")
    try:
        path = site / APPROVED
        approved = [str(one["sha256"]) for one in json.loads(path.read_bytes())] if path.exists() else []
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.error("The list of approved code cannot be read, so no code runs here: %r", error)  # noqa: TRY400
        return False
    if sha256 not in approved:
        log.error(
            "This site has not approved the code bundle %s, so nothing of it runs here. To look at it, and "
            "to let it run: python -m deploy approve-bundle %s BUNDLE",
            sha256,
            site,
        )
    return sha256 in approved


def main() -> None:
    """Start the SuperNode; the site's folder comes first, Flower's own arguments follow."""
    site = Path(sys.argv.pop(1)).resolve()
    pin(site)
    os.chdir(site)  # not in the checkout, whose code nobody approved
    start: Callable[[], None] = importlib.import_module(
        "flwr.supernode.cli.flower_supernode"
    ).flower_supernode
    with quick(site / "flower" / "warm"):
        start()


def _there(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name)


def _get(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _set(module: str, name: str, value: object) -> None:
    setattr(importlib.import_module(module), name, value)


if __name__ == "__main__":
    main()
