"""A whole session of the secure sum in one process: sites with keys, a server, a ledger in memory."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.fixed_point import fraction_bits
from lego_core.privacy.fsa1.ledger import Ledger, SumKey
from lego_core.privacy.fsa1.limits import Expected
from lego_core.privacy.fsa1.memory import SiteMemory
from lego_core.privacy.fsa1.neighbours import threshold
from lego_core.privacy.fsa1.server import ServerSession
from lego_core.privacy.fsa1.site import SiteSession

HASH = "0" * 64
IDENTITIES = [Ed25519PrivateKey.generate() for _ in range(70)]
CAP = 1000


class MemoryLedger:
    """A ledger that forgets with the process."""

    def __init__(self) -> None:
        self.entered: set[tuple[bytes, str]] = set()
        self.noted: dict[SumKey, tuple[bytes, frozenset[str]]] = {}

    def begin(self, sid: bytes, *, stage: str) -> None:
        if (sid, stage) in self.entered:
            raise SecureSumError(f"The ledger knows that '{stage}' was answered.")
        self.entered.add((sid, stage))

    def confirm(self, key: SumKey, *, sid: bytes, sites: frozenset[str]) -> None:
        if self.noted.setdefault(key, (sid, sites)) != (sid, sites):
            raise SecureSumError("The ledger holds another sum of these weights.")


@dataclass
class Session:
    """Sites 1 to n, their vectors and patients, and a server; every step can be taken by hand."""

    described: SessionDescriptor
    sites: dict[int, SiteSession]
    server: ServerSession
    values: dict[int, np.ndarray]
    patients: dict[int, int]

    def keys(self, lost: frozenset[int] = frozenset()) -> None:
        self.server.take_keys({place: site.keys() for place, site in self._there(lost)})

    def shares(self, lost: frozenset[int] = frozenset()) -> None:
        bundles = self.server.bundles
        dealt = {place: site.shares(bundles) for place, site in self._there(lost) if place in bundles}
        self.server.take_shares(dealt)

    def masked(self, lost: frozenset[int] = frozenset()) -> None:
        for place in sorted(self.server.sharing_sites - lost):
            self.server.take_masked(place, self.mask(place))
        self.server.close()

    def mask(self, place: int, **changed):
        asked = {
            "sharing_sites": self.server.sharing_sites,
            "parts": [self.described.clipped(self.values[place], patients=self.patients[place])],
            "model_sha256": HASH,
            "received_sha256": HASH,
        }
        sealed = changed.pop("sealed", None) or self.server.sealed_for(place)
        return self.sites[place].masked(sealed, **(asked | changed))

    def confirm(self, lost: frozenset[int] = frozenset()) -> None:
        self.server.take_confirmations(
            {place: self.sign(place) for place in sorted(self.server.survivors - lost)}
        )

    def sign(self, place: int) -> bytes:
        return self.sites[place].confirm(self.server.sharing_sites, self.server.survivors)

    def open(self, lost: frozenset[int] = frozenset()) -> tuple[np.ndarray, float]:
        signed = self.server.confirmations
        there = sorted(set(signed) - lost)
        return self.read(self.server.open({place: self.sites[place].unmask(signed) for place in there}))

    def put_back(self, place: int, saved: Mapping[str, bytes]) -> None:
        """Go on at a site with what it had saved, as another process of it would."""
        self.sites[place] = replace(self.sites[place], memory=SiteMemory.restore(saved))

    def read(self, residues: np.ndarray) -> tuple[np.ndarray, float]:
        return self.described.read_clipped(residues, num_sites=len(self.server.survivors))

    def expected(self) -> np.ndarray:
        """The sum over the survivors, in plain sight."""
        scale, there = 2.0**self.described.frac_bits, self.server.survivors
        quanta = [
            np.rint(np.clip(self.values[place], -1, 1) * np.float32(self.patients[place] / CAP * scale))
            for place in there
        ]
        return sum(each.astype(np.float64) for each in quanta) / scale * CAP

    def _there(self, lost: frozenset[int]):
        return ((place, site) for place, site in self.sites.items() if place not in lost)


def describe(num_sites: int, dim: int = 5, **changed) -> SessionDescriptor:
    """A session that every site accepts, but for what is changed."""
    plain = {
        "run": "run", "round": 1, "group": "blood", "attempt": 1,
        "participants": tuple(f"site-{place:02d}" for place in range(1, num_sites + 1)),
        "threshold": threshold(num_sites, most_corrupt=0), "neighbours": num_sites - 1,
        "max_corrupt": 0, "min_survivors": 3, "dim": dim + 1, "clipped_dim": dim + 1, "clip": 1.0.hex(),
        "frac_bits": fraction_bits(num_sites, 1.0), "weight_cap": CAP, "model_sha256": HASH,
        "schema_sha256": HASH, "task_sha256": HASH, "roster_sha256": HASH,
        "nonce": secrets.token_hex(32), "deadline": 2_000_000_000,
    }  # fmt: skip
    return SessionDescriptor(**(plain | changed))


def open_session(
    num_sites: int, dim: int = 5, *, seed: int = 0, ledgers: Mapping[int, Ledger] | None = None, **changed
) -> Session:
    """Sites with random vectors, ready to be asked."""
    described = describe(num_sites, dim, **changed)
    roster = {
        name: key.public_key().public_bytes_raw()
        for name, key in zip(described.participants, IDENTITIES, strict=False)
    }
    rng = np.random.default_rng(seed)
    sites = {
        place: SiteSession(
            described,
            site=name,
            identity=IDENTITIES[place - 1],
            roster=roster,
            ledger=(ledgers or {}).get(place) or MemoryLedger(),
        )
        for name, place in described.places.items()
    }
    return Session(
        described,
        sites,
        ServerSession(described, roster),
        values={place: rng.uniform(-1.2, 1.2, dim).astype(np.float32) for place in sites},
        patients={place: int(rng.integers(1, CAP + 1)) for place in sites},
    )


def expect(described: SessionDescriptor) -> Expected:
    """What a site would know by itself of this session."""
    return Expected(**{key: getattr(described, key) for key in Expected.model_fields})
