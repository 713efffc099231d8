"""Is there room to write?"""

import os
import shutil
import tempfile
from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises

RESERVE = 2**30  # logs, ledger, Flower's own state
COPIES = 8  # of a round's messages: Flower keeps them at either side, and writes before it moves
PROBE = 2**20
GIGABYTE = 1e9


@final
class Disk(AbstractCheck):
    """The site's folder can be written to, now, and has room for the messages of a round."""

    name = "disk"
    asks = "Can the site's folder be written to, and is there room?"

    def look(self, premises: Premises) -> Finding:
        folder = premises.wish.folder
        todo = "Make room, or give the node's user the right to write there."
        try:
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(os.urandom(PROBE))
                probe.flush()
                os.fsync(probe.fileno())
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return self.fix(
                f"Nothing can be written to the site's folder ({error.strerror}).",
                todo,
                details=[str(folder)],
            )
        needed = RESERVE + COPIES * self._round_bytes(premises)
        measured = {"free_gigabytes": round(free / GIGABYTE, 2)}
        limits = {"free_gigabytes": round(needed / GIGABYTE, 2)}
        said = f"{free / GIGABYTE:.3g} GB are free, and {needed / GIGABYTE:.3g} GB are asked for."
        if free < needed:
            return self.fix(said, todo, measured=measured, limits=limits, details=[str(folder)])
        return self.passed(said, measured=measured, limits=limits)

    def _round_bytes(self, premises: Premises) -> int:
        """What a round weighs; where that cannot be told, another check says why."""
        from deploy.preflight._once import TROUBLE

        try:
            return sum(one.both for one in premises.round())
        except TROUBLE:
            return 0
