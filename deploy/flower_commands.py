"""Commands of Flower's own that people type on the coordinator's machine."""

import json
import shlex
from pathlib import Path

REGISTERED = "registered.json"
QUIET = "FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1"


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


def stop_command(folder: Path, run_id: str) -> str:
    """How to end a run."""
    return f"{_flwr(folder)} stop {run_id} lego"


def _flwr(folder: Path) -> str:
    return f"FLWR_HOME={shlex.quote(str(folder / 'flower'))} {QUIET} flwr"
