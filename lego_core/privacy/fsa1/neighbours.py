"""Who shares with whom: everybody up to 64 sites, a circle of neighbours above."""

import math
from functools import cache

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from scipy.stats import hypergeom

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1.wire import tagged

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
        Over all sites together, at random placement: the chance that c of a site's k neighbours are
        corrupt with 2t <= k + c is below 2^-40, so that no two sets of survivors find a threshold each;
        the chance that fewer than t neighbours stay is below 2^-20. Whether what is left of the circle
        still hangs together is to be looked at when it is known.

    Source:
        Bell, Bonawitz, Gascon, Lepoint, Raykova. "Secure Single-Server Aggregation with
        (Poly)Logarithmic Overhead." CCS 2020. doi:10.1145/3372297.3417885 (idea and tails).
    """
    bad, lost = math.ceil(corrupt * num_sites), math.ceil(absent * num_sites)
    others = num_sites - 1
    for degree in range(4, others + 1, 2):
        for needed in range(degree // 2 + 1, degree + 1):
            unsafe = num_sites * hypergeom.sf(2 * needed - degree - 1, others, min(bad, others), degree)
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
        th: The transcript, which nobody can choose; it decides who sits where.
    """
    ordered = seating(tuple(sorted(places)), th)
    if degree >= len(ordered) - 1:
        return frozenset(ordered) - {place}
    seat = ordered.index(place)
    steps = [step for far in range(1, degree // 2 + 1) for step in (far, -far)]
    return frozenset(ordered[(seat + step) % len(ordered)] for step in steps)


@cache
def seating(places: tuple[int, ...], th: bytes) -> tuple[int, ...]:
    """A round table in an order that only the transcript decides."""
    drawn = HKDFExpand(SHA256(), 32, tagged("circle")).derive(th)
    rng = np.random.Generator(np.random.PCG64(np.frombuffer(drawn, dtype="<u4").tolist()))
    return tuple(int(place) for place in rng.permutation(np.array(places)))
