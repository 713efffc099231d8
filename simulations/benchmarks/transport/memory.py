"""How much memory each of Flower's processes takes, looked at while they run."""

from collections.abc import Sequence
from pathlib import Path
from typing import final

import psutil

ROLES = {
    "flwr-serverapp": "ServerApp",
    "flower-superlink": "SuperLink",
    "flower-supernode": "SuperNode",
    "deploy.quick_node": "SuperNode",
    "flwr-clientapp": "ClientApp",
    "_forked_starts.py": "ClientApp",
}


@final
class Peaks:
    """The highest memory of each role, over all processes that had it.

    Memory of files that are mapped counts apart: the system takes it back when it needs it.
    """

    def __init__(self) -> None:
        self.own: dict[str, int] = {}
        self.resident: dict[str, int] = {}

    def look(self, processes: Sequence[psutil.Process]) -> None:
        """Look once."""
        for process in processes:
            try:
                role, (own, resident) = _role(process), _memory(process.pid)
            except (psutil.Error, OSError):
                continue
            if role:
                self.own[role] = max(self.own.get(role, 0), own)
                self.resident[role] = max(self.resident.get(role, 0), resident)


def _role(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    return next((role for name, role in ROLES.items() if name in words), "")


def _memory(pid: int) -> tuple[int, int]:
    """Anonymous memory, and all that is resident, in bytes; where the system tells both (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return _bytes(lines.get("RssAnon", "0")), _bytes(lines.get("VmRSS", "0"))


def _bytes(kilobytes: str) -> int:
    return int(kilobytes.split()[0]) * 1024
