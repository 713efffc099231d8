"""The commands by which Flower, on the coordinator's machine, gets to know a node and to forget it."""

import json
import shlex
from pathlib import Path

REGISTERED = "registered.json"
QUIET = "FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1"


def register_command(folder: Path, site: str) -> str:
    """How to register a site's node key; call it before the site's SuperNode starts.

    Flower answers with the node's number and never tells again whose it is, so the answer is kept.
    """
    own = folder / "sites" / site
    key, answer = shlex.quote(str(own / "node.pub")), shlex.quote(str(own / REGISTERED))
    return f"{_flwr(folder)} supernode register {key} lego --name {site} --format json > {answer}"


def unregister_command(folder: Path, former: Path) -> str:
    """How to make Flower forget the node of a site that left.

    Args:
        folder: The coordinator's.
        former: Where the site's files lie now.
    """
    try:
        number = str(int(json.loads((former / REGISTERED).read_bytes())["node-id"]))
    except (OSError, ValueError, TypeError, KeyError):
        number = "NODE-ID"
    return f"{_flwr(folder)} supernode unregister {number} lego"


def list_command(folder: Path) -> str:
    """How to list the nodes that Flower knows."""
    return f"{_flwr(folder)} supernode list lego"


def _flwr(folder: Path) -> str:
    return f"FLWR_HOME={shlex.quote(str(folder / 'flower'))} {QUIET} flwr"
