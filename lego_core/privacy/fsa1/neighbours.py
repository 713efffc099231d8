"""Who shares with whom: everybody up to 64 sites, a circle of neighbours above."""

import math
from collections.abc import Iterable
from functools import cache
from typing import final

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1.wire import digest, index_bytes

UNSAFE = 2.0**-40  # chance that the corrupt of some circle could serve two sets of survivors
LOST = 2.0**-20  # chance that some site's circle keeps fewer than a threshold


def threshold(num_sites: int, *, most_corrupt: int) -> int:
    """How many shares a sum needs among everybody: more than the corrupt could gather in two lies."""
    return (num_sites + most_corrupt) // 2 + 1


@cache
def circle_size(num_sites: int, *, corrupt: float = 0.05, absent: float = 0.05) -> tuple[int, int]:
    """Give the number of neighbours k and the threshold t for many sites.

    Args:
        num_sites: Number of sites S.
        corrupt: Share of sites that may work with the server.
        absent: Share of sites that may get lost.

    Raises:
        SecureSumError: If no circle is large enough.

    Guarantees:
        Over all sites together, at random placement: the chance that c of a site's k neighbours are corrupt
        with 2t <= k + 1 + c (each secret has k + 1 shares) is below 2^-40, so that no two sets of
        survivors find a threshold each; the chance that fewer than t neighbours stay is below 2^-20.
        Whether what is left of the circle still hangs together is seen by `RoundTable.binds`.

    Source:
        Bell, Bonawitz, Gascon, Lepoint, Raykova. "Secure Single-Server Aggregation with
        (Poly)Logarithmic Overhead." CCS 2020. doi:10.1145/3372297.3417885 (idea and tails).
    """
    from scipy.stats import hypergeom  # slow to import, and only many sites need it

    bad, lost = math.ceil(corrupt * num_sites), math.ceil(absent * num_sites)
    others = num_sites - 1
    for degree in range(4, others + 1, 2):
        for needed in range(degree // 2 + 1, degree + 1):
            unsafe = num_sites * hypergeom.sf(2 * needed - degree - 2, others, min(bad, others), degree)
            if unsafe >= UNSAFE:
                continue
            missing = num_sites * hypergeom.sf(degree - needed, others, min(lost, others), degree)
            if missing < LOST:
                return degree, needed
            break  # a higher threshold only loses more
    raise SecureSumError(
        f"Among {num_sites} sites no circle of neighbours withstands {corrupt:.0%} corrupt and "
        f"{absent:.0%} absent sites. Let every site share with all others, or expect fewer."
    )


@final
class RoundTable:
    """Who sits next to whom, and so shares and masks with whom.

    Args:
        places: All sites that showed keys.
        degree: How many neighbours each has, an even number; with `len(places) - 1` or more, everybody.
        th: The transcript; it decides who sits where, and no site knows it before all showed their keys.
    """

    def __init__(self, places: Iterable[int], *, degree: int, th: bytes) -> None:
        self._order = sorted(places, key=lambda place: digest("seat", th, index_bytes(place)))
        self._seats = {place: seat for seat, place in enumerate(self._order)}
        self._reach = min(degree // 2, len(self._order) - 1)
        self._is_complete = degree >= len(self._order) - 1

    def neighbours(self, place: int) -> frozenset[int]:
        """The neighbours of one site, without itself."""
        if self._is_complete:
            return frozenset(self._order) - {place}
        steps = range(1, self._reach + 1)
        seats = [self._seats[place] + step for far in steps for step in (far, -far)]
        return frozenset(self._order[seat % len(self._order)] for seat in seats)

    def binds(self, survivors: frozenset[int]) -> bool:
        """Whether masks bind all survivors to one another, so that no part of them can be opened alone.

        Survivors next in order are bound unless more seats are between them than neighbours reach; one
        such gap leaves a row, two leave two.
        """
        if self._is_complete:
            return True
        seats = sorted(self._seats[place] for place in survivors)
        following = [*seats[1:], seats[0] + len(self._order)]
        return sum(after - seat > self._reach for seat, after in zip(seats, following, strict=True)) <= 1
