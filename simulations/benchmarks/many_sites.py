"""A secure sum of many sites, all in one process: exact, and what it costs."""

import resource
import secrets
import time
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lego_core.component import Component
from lego_core.privacy import EVERYBODY
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.fixed_point import fraction_bits, from_fixed_point, to_fixed_point
from lego_core.privacy.fsa1.ledger import SumKey
from lego_core.privacy.fsa1.limits import SiteLimits
from lego_core.privacy.fsa1.neighbours import circle_size, threshold
from lego_core.privacy.fsa1.server import ServerSession
from lego_core.privacy.fsa1.site import SiteSession

CLIP, CAP = 1.0, 100
NOTHING = "0" * 64


class ManySites(Component):
    """How one session of many sites went.

    Args:
        sites: Number of sites.
        neighbours: With how many others each shared.
        threshold: Shares that open a secret.
        absent: How many got lost after dealing their shares, before sending their vector.
        elements: Length of the vectors.
        exact: Whether the sum is that of the survivors, number by number.
        seconds: Of one processor, for all sites and the server, by stage.
        memory_mib: Peak memory of the process.
    """

    sites: int
    neighbours: int
    threshold: int
    absent: int
    elements: int
    exact: bool
    seconds: dict[str, float]
    memory_mib: float

    def sentence(self) -> str:
        """The outcome in words."""
        exact = "exact" if self.exact else "WRONG"
        stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in self.seconds.items())
        return (
            f"{self.sites:,} sites with {self.neighbours} neighbours each (threshold {self.threshold}), "
            f"{self.absent} of them lost before they sent their {self.elements:,} numbers: the sum is "
            f"{exact}. All sites and the server in one process: {stages}, in all "
            f"{sum(self.seconds.values()):.0f} s and {self.memory_mib:,.0f} MiB."
        )


def sum_many(num_sites: int, *, elements: int, absent: float, said: Callable[[str], None]) -> ManySites:
    """Run a session, lose some sites, and compare the sum with that in plain sight.

    Args:
        num_sites: Number of sites.
        elements: Length of each vector.
        absent: Share of sites that get lost.
        said: Where to say which stage begins.
    """
    session = _Session(num_sites, elements, lost=round(absent * num_sites))
    seconds = {}
    for stage in (session.keys, session.shares, session.masked, session.confirm, session.open):
        said(f"{stage.__name__} of {num_sites:,} sites")
        started = time.process_time()
        stage()
        seconds[stage.__name__] = time.process_time() - started
    return ManySites(
        sites=num_sites,
        neighbours=session.described.neighbours,
        threshold=session.described.threshold,
        absent=len(session.lost),
        elements=elements,
        exact=session.is_exact(),
        seconds=seconds,
        memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


class _Session:
    def __init__(self, num_sites: int, elements: int, *, lost: int) -> None:
        rng = np.random.default_rng(0)
        identities = [Ed25519PrivateKey.generate() for _ in range(num_sites)]
        names = tuple(f"site-{place:05d}" for place in range(1, num_sites + 1))
        roster = {
            name: key.public_key().public_bytes_raw() for name, key in zip(names, identities, strict=True)
        }
        degree, needed = num_sites - 1, threshold(num_sites, most_corrupt=0)
        if num_sites > EVERYBODY:
            degree, needed = circle_size(num_sites)
        self.described = SessionDescriptor(
            run="many-sites", round=1, group="vector", attempt=1, participants=names, threshold=needed,
            neighbours=degree, max_corrupt=0, min_survivors=3, dim=elements + 1, clipped_dim=elements + 1,
            clip=CLIP.hex(), frac_bits=fraction_bits(num_sites, CLIP), weight_cap=CAP, model_sha256=NOTHING,
            schema_sha256=NOTHING, task_sha256=NOTHING, roster_sha256=NOTHING, nonce=secrets.token_hex(32),
            deadline=int(time.time()) + 3600,
        )  # fmt: skip
        SiteLimits(semi_honest_server=True).check(
            self.described, site=names[0], roster=frozenset(names), now=int(time.time())
        )
        self.sites = {
            place: SiteSession(
                self.described, site=name, identity=identities[place - 1], roster=roster, ledger=_NoLedger()
            )
            for name, place in self.described.places.items()
        }
        self.server = ServerSession(self.described, roster)
        self.lost = frozenset((rng.choice(num_sites, lost, replace=False) + 1).tolist())
        self.values = {place: rng.normal(0, 0.3, elements).astype(np.float32) for place in self.sites}
        self.patients = {place: int(rng.integers(1, CAP + 1)) for place in self.sites}
        self.residues = np.zeros(0, dtype=np.uint32)

    def keys(self) -> None:
        self.server.take_keys({place: site.keys() for place, site in self.sites.items()})

    def shares(self) -> None:
        bundles = self.server.bundles
        self.server.take_shares({place: site.shares(bundles) for place, site in self.sites.items()})

    def masked(self) -> None:
        sharing = self.server.sharing_sites
        for place in sorted(sharing - self.lost):
            part = self.described.clipped(self.values[place], patients=self.patients[place])
            sealed = self.server.sealed_for(place)
            masked = self.sites[place].masked(
                sealed,
                sharing_sites=sharing,
                parts=[part],
                model_sha256=NOTHING,
                received_sha256=NOTHING,
            )
            self.server.take_masked(place, masked)
        self.server.close()

    def confirm(self) -> None:
        sharing, survivors = self.server.sharing_sites, self.server.survivors
        self.server.take_confirmations(
            {place: self.sites[place].confirm(sharing, survivors) for place in sorted(survivors)}
        )

    def open(self) -> None:
        signed = self.server.confirmations
        self.residues = self.server.open({place: self.sites[place].unmask(signed) for place in signed})

    def is_exact(self) -> bool:
        bits, expected = self.described.frac_bits, np.zeros(len(self.values[1]))
        quanta = np.empty(len(expected), dtype=np.uint32)
        for place in self.server.survivors:
            weight = self.patients[place] / CAP
            to_fixed_point(self.values[place], weight=weight, clip=CLIP, bits=bits, out=quanta)
            expected += from_fixed_point(quanta, bits=bits)
        total, _ = self.described.read_clipped(self.residues, num_sites=len(self.server.survivors))
        return np.array_equal(total, expected * CAP)


class _NoLedger:
    """A rehearsal is one session, and signs one sum."""

    def begin(self, sid: bytes, *, stage: str) -> None:
        """Let it pass."""

    def confirm(self, key: SumKey, *, sid: bytes, sites: frozenset[str]) -> None:
        """Let it pass."""
