"""What Flower's programs see of the environment: named variables alone, and no word to Flower's makers."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


def flower_environment(home: Path, *, inherited: Mapping[str, str]) -> dict[str, str]:
    """All of the environment of one of Flower's programs.

    Args:
        home: Flower's own folder.
        inherited: The environment to take names, paths and languages from.
    """
    kept = {name: inherited[name] for name in KEPT if name in inherited}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return {**kept, **QUIET, "PATH": path, "FLWR_HOME": str(home)}
