"""What a site never does twice, whatever becomes of its memory."""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable


@final
@dataclass(frozen=True, slots=True)
class SumKey:
    """What a site lets be opened once; all of it as the site itself knows it.

    Args:
        run: Name of the run.
        group: What is summed.
        round: Number of the round.
        weights_sha256: Hash of the weights that this site was sent, and of no others: a server that names
            more would have many hashes for the same vector.
    """

    run: str
    group: str
    round: int
    weights_sha256: str


@runtime_checkable
class Ledger(Protocol):
    """Where a site notes, for good, what it answered; asked before the answer leaves."""

    def begin(self, sid: bytes, *, stage: str) -> None:
        """Note that this stage of a session was entered.

        Raises:
            LegoError: If it was before: a state from before it must not answer anew.
        """

    def confirm(self, key: SumKey, *, sid: bytes, sites: frozenset[str]) -> None:
        """Note it on the disk before returning.

        Args:
            key: What is summed.
            sid: The session.
            sites: Names of those whose sum it is.

        Raises:
            LegoError: If in this run another session, or another set, was noted for this group with the same
                weights, or in the same round; or in another run a set that differs by few sites, for the
                same weights: two sums of such vectors would show them by subtraction.
        """
