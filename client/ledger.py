"""What a site has signed and spent, for good: nothing here is ever taken back."""

from pathlib import Path
from typing import final

from lego_core.chained_log import ChainedLog
from lego_core.errors import SecureSumError

CONFIRMED = "sum-confirmed"


@final
class SiteLedger:
    """The site's own record, beside its `site.toml`, apart from whatever Flower keeps.

    Args:
        path: The file of chained lines.

    Raises:
        LogError: If what is there was changed.
    """

    def __init__(self, path: Path) -> None:
        self._log = ChainedLog(path)
        self._confirmed = {
            (one["run"], one["group"], one["model_sha256"]): (one["session"], one["survivors"])
            for one in self._log.events
            if one["event"] == CONFIRMED
        }

    def confirm(self, key: tuple[str, str, str], *, sid: bytes, survivors: frozenset[int]) -> None:
        """Note whose sum may be opened; on the disk when this returns.

        Args:
            key: Run, group and hash of the weights that were trained on.
            sid: The session.
            survivors: Places of the sites in the sum.

        Raises:
            SecureSumError: If another session or set was confirmed for these weights.
            LogError: If it cannot be written.
        """
        told = (sid.hex(), sorted(survivors))
        if key in self._confirmed:
            if self._confirmed[key] == told:
                return
            run, group, _ = key
            raise SecureSumError(
                f"This site has let a sum of '{group}' in run '{run}' be opened before, for the same weights "
                "and other sites or keys. Two such sums show one site by subtraction, so it signs no second "
                "one. Go on with other weights: skip this round's update of the group."
            )
        run, group, model_sha256 = key
        entry = {"run": run, "group": group, "model_sha256": model_sha256}
        self._log.append(CONFIRMED, {**entry, "session": told[0], "survivors": told[1]})
        self._confirmed[key] = told
