"""What a site has signed and spent, for good: nothing here is ever taken back."""

from pathlib import Path
from typing import final

from lego_core.chained_log import ChainedLog
from lego_core.errors import SecureSumError

ENTERED, CONFIRMED = "sum-stage", "sum-confirmed"


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

    def begin(self, sid: bytes, *, stage: str) -> None:
        """Note that a stage of a session was entered; on the disk when this returns.

        Raises:
            SecureSumError: If it was entered before.
            LogError: If it cannot be written.
        """
        entry = {"session": sid.hex(), "stage": stage}
        with self._log.locked():
            if any(entry.items() <= one.items() for one in self._log.events if one["event"] == ENTERED):
                raise SecureSumError(
                    f"This site has answered '{stage}' of this session before and does not know any more "
                    "what: its state was put back, or the session was begun a second time. It answers "
                    "nothing in it. Begin anew, with a fresh session."
                )
            self._log.append_locked(ENTERED, entry)

    def confirm(self, key: tuple[str, str, str], *, sid: bytes, survivors: frozenset[int]) -> None:
        """Note whose sum may be opened; on the disk when this returns.

        Args:
            key: Run, hash of the parts that are summed, hash of the weights that were trained on.
            sid: The session.
            survivors: Places of the sites in the sum.

        Raises:
            SecureSumError: If another session or set was confirmed for these weights.
            LogError: If it cannot be written.
        """
        about = dict(zip(("run", "schema_sha256", "model_sha256"), key, strict=True))
        entry = {**about, "session": sid.hex(), "survivors": sorted(survivors)}
        with self._log.locked():
            before = [
                one for one in self._log.events if one["event"] == CONFIRMED and about.items() <= one.items()
            ]
            if any(one[name] != entry[name] for one in before for name in ("session", "survivors")):
                raise SecureSumError(
                    f"This site has let a sum of the same parts in run '{key[0]}' be opened before, for the "
                    "same weights and other sites or keys. Two such sums show one site by subtraction, so it "
                    "signs no second one. Go on with other weights: skip this round's update of the group."
                )
            if not before:
                self._log.append_locked(CONFIRMED, entry)
