"""Who shares with whom: everybody up to 64 sites, a circle of neighbours above."""

import math
from functools import cache, lru_cache

from scipy.stats import hypergeom

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1.wire import digest, index_bytes

EVERYBODY = 64  # sites up to which each shares with all others
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
        Whether what is left of the circle still hangs together is seen by `hangs_together`.

    Source:
        Bell, Bonawitz, Gascon, Lepoint, Raykova. "Secure Single-Server Aggregation with
        (Poly)Logarithmic Overhead." CCS 2020. doi:10.1145/3372297.3417885 (idea and tails).
    """
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


def circle(place: int, *, places: list[int], degree: int, th: bytes) -> frozenset[int]:
    """The neighbours of one site, without itself.

    Args:
        place: The site.
        places: All sites that showed keys.
        degree: How many neighbours each has, an even number; with `len(places) - 1` or more, everybody.
        th: The transcript; it decides who sits where, and no site knows it before all showed their keys.
    """
    ordered = seating(tuple(sorted(places)), th)
    if degree >= len(ordered) - 1:
        return frozenset(ordered) - {place}
    seat = ordered.index(place)
    steps = [step for far in range(1, degree // 2 + 1) for step in (far, -far)]
    return frozenset(ordered[(seat + step) % len(ordered)] for step in steps)


@lru_cache(maxsize=4)
def hangs_together(survivors: frozenset[int], *, places: tuple[int, ...], degree: int, th: bytes) -> bool:
    """Whether masks bind all survivors to one another, so that no part of them can be opened alone."""
    reached, found = set(), set(sorted(survivors)[:1])
    while found:
        place = found.pop()
        reached.add(place)
        found |= (circle(place, places=list(places), degree=degree, th=th) & survivors) - reached
    return reached == survivors


@lru_cache(maxsize=4)
def seating(places: tuple[int, ...], th: bytes) -> tuple[int, ...]:
    """A round table in an order that the transcript decides."""
    return tuple(sorted(places, key=lambda place: digest("seat", th, index_bytes(place))))
