"""The server's half of a session: hand on, add up, take the masks away; see the sum and nothing else."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import SystemRandom
from typing import TypeVar, final

import numpy as np
from jaxtyping import UInt32

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1 import sharing
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.keys import (
    Bundle,
    commitment,
    is_signature,
    own_key,
    pair_key,
    public_key,
    transcript,
)
from lego_core.privacy.fsa1.masks import Masks, add
from lego_core.privacy.fsa1.memory import MaskedVector
from lego_core.privacy.fsa1.neighbours import RoundTable
from lego_core.privacy.fsa1.site import signed_sets, signed_vector

T = TypeVar("T")
MOST_TRIES = 2_000  # subsets of shares, where some were changed


@final
@dataclass
class ServerSession:
    """One session at the server; fed in the order of its methods.

    Whoever does not answer, or answers wrongly, is left out at that stage, with the reason in
    `left_out`; below what the session needs it ends, and the sum stays closed.

    Args:
        described: The session.
        roster: The Ed25519 public keys of all sites, by name.
    """

    described: SessionDescriptor
    roster: Mapping[str, bytes]
    left_out: dict[str, str] = field(default_factory=dict)
    _bundles: dict[int, bytes] = field(default_factory=dict)
    _sealed: dict[int, Mapping[int, bytes]] = field(default_factory=dict)  # sender -> receiver -> piece
    _survivors: set[int] = field(default_factory=set)
    _sum: UInt32[np.ndarray, "W"] | None = None
    _signatures: dict[int, bytes] = field(default_factory=dict)
    _th: bytes = b""
    _closed: bool = False

    def __post_init__(self) -> None:
        self._sid = self.described.sid
        self._num_sites = len(self.described.participants)

    def take_keys(self, bundles: Mapping[int, bytes]) -> None:
        """Take the bundles that sites showed, by place.

        Raises:
            SecureSumError: If too few are left.
        """
        for place, packed in self._known(bundles):
            try:
                signed = Bundle.read(packed).is_signed_by(self._signer(place), sid=self._sid, place=place)
            except SecureSumError:
                signed = False
            if signed:
                self._bundles[place] = packed
            else:
                self._leave_out(place, "its keys are not signed by it")
        self._require(self._bundles, self.described.fewest, "showed keys")
        self._th = transcript(self._bundles, sid=self._sid)
        self._table = RoundTable(self._bundles, degree=self.described.neighbours, th=self._th)

    @property
    def bundles(self) -> dict[int, bytes]:
        """What every site is to see."""
        return dict(self._bundles)

    def take_shares(self, sealed: Mapping[int, Mapping[int, bytes]]) -> None:
        """Take what each site sealed for its neighbours: sender, receiver, piece.

        Raises:
            SecureSumError: If too few dealt to all their neighbours.
        """
        for place, pieces in self._known(sealed):
            if place in self._bundles and set(pieces) == self._table.neighbours(place):
                self._sealed[place] = pieces
            elif place in self._bundles:
                self._leave_out(place, "it did not deal a share to each of its neighbours")
        self._require(self._sealed, self.described.fewest, "dealt shares")

    @property
    def sharing_sites(self) -> frozenset[int]:
        """Everybody who dealt shares out."""
        return frozenset(self._sealed)

    def sealed_for(self, place: int) -> dict[int, bytes]:
        """The pieces that are for one site, by sender."""
        return {sender: pieces[place] for sender, pieces in sorted(self._sealed.items()) if place in pieces}

    def take_masked(self, place: int, masked: MaskedVector) -> None:
        """Add one masked vector to the sum; it is not kept.

        A vector that is not signed by its site, or has another length, is left out.
        """
        if not 1 <= place <= self._num_sites or place in self._survivors:
            return  # nobody, or the same vector once more
        residues = masked.residues
        fits = residues.dtype == np.uint32 and residues.shape == (self.described.dim,)
        if self._closed:
            self._leave_out(place, "its vector came too late, when the sum was about to be opened")
        elif place not in self._sealed:
            self._leave_out(place, "it sent a vector nobody had asked it for")
        elif not fits or not is_signature(
            masked.signature,
            signed_vector(residues, th=self._th, sharing_sites=self.sharing_sites),
            signer=self._signer(place),
        ):
            self._leave_out(place, "its vector is not signed by it, or has another length")
        else:
            self._survivors.add(place)
            if self._sum is None:
                self._sum = np.zeros_like(residues)
            add(self._sum, residues, narrow=self.described.clipped_dim)

    @property
    def survivors(self) -> frozenset[int]:
        """Whose vectors are in the sum."""
        return frozenset(self._survivors)

    def close(self) -> None:
        """Take no vector any more; stop before anything is confirmed, if the sum is of too few.

        Raises:
            SecureSumError: If so.
        """
        self._closed = True
        self._require(
            self._survivors, max(self.described.min_survivors, self.described.fewest), "sent a vector"
        )

    def take_confirmations(self, signatures: Mapping[int, bytes]) -> None:
        """Take the survivors' signatures under the two sets.

        Raises:
            SecureSumError: If fewer than a threshold signed.
        """
        signed = signed_sets(self._th, self.sharing_sites, self.survivors)
        for place, signature in self._known(signatures):
            if place in self._survivors and is_signature(signature, signed, signer=self._signer(place)):
                self._signatures[place] = signature
            else:
                self._leave_out(place, "it did not sign the survivors")
        self._require(self._signatures, self.described.threshold, "confirmed the survivors")

    @property
    def confirmations(self) -> dict[int, bytes]:
        """What shows every site that a threshold of them saw the same survivors."""
        return dict(self._signatures)

    def suffice(self, shares: Mapping[int, Mapping[int, bytes]]) -> bool:
        """Whether a threshold of shares of every site is there, as `open` takes them."""
        dealt = Counter(place for own in shares.values() for place in own)
        return all(dealt[place] >= self.described.threshold for place in self.sharing_sites)

    def open(self, shares: Mapping[int, Mapping[int, bytes]]) -> UInt32[np.ndarray, "W"]:
        """Take the masks away with the shares that sites handed out, and give the sum's residues.

        Args:
            shares: Who handed out, of whom, which share.

        Raises:
            SecureSumError: If a secret cannot be put together.
        """
        if self._sum is None:
            raise self._ended("no site sent a vector, or the sum was opened before")
        total, self._sum = self._sum, None
        signs: dict[bytes, int] = {}
        for place in sorted(self.sharing_sites):
            bundle = Bundle.read(self._bundles[place])
            if place in self._survivors:
                seed = self._secret(
                    place, shares, lambda secret, bundle=bundle, place=place: bundle.commitment
                    == commitment(secret, sid=self._sid, place=place),
                )  # fmt: skip
                signs[own_key(seed, th=self._th)] = -1
                continue
            private = self._secret(
                place, shares, lambda secret, bundle=bundle: bundle.masking == public_key(secret)
            )
            for other in sorted(self._table.neighbours(place) & self._survivors):
                public = Bundle.read(self._bundles[other]).masking
                key = pair_key(private, public, places=(place, other), th=self._th)
                signs[key] = -1 if place > other else 1
        Masks(signs, narrow=self.described.clipped_dim).apply(total)
        return total

    # ---- inside ----------------------------------------------------------------------------

    def _secret(
        self, place: int, shares: Mapping[int, Mapping[int, bytes]], is_right: Callable[[bytes], bool]
    ) -> bytes:
        """Put one site's secret together; where a share was changed, by others, and say whose it was."""
        held = {sender: own[place] for sender, own in sorted(shares.items()) if place in own}
        t = self.described.threshold
        if len(held) < t:
            raise self._ended(f"{len(held)} shares came of a secret that {t} open")
        for number in range(MOST_TRIES):
            chosen = tuple(held)[:t] if number == 0 else tuple(SystemRandom().sample(sorted(held), t))
            secret = _combined(held, chosen)
            if secret is not None and is_right(secret):
                if number:
                    self._note_liars(held, chosen, secret, place)
                return secret
        raise self._ended(
            f"the shares of site '{self._name(place)}' do not give its secret: it dealt false ones, or "
            "several sites changed theirs"
        )

    def _note_liars(
        self, held: Mapping[int, bytes], right: tuple[int, ...], secret: bytes, place: int
    ) -> None:
        """Note whose share does not go with others that are known to be right."""
        for sender in sorted(set(held) - set(right)):
            if _combined(held, (*right[1:], sender)) != secret:
                self._leave_out(sender, f"it handed out a false share of site '{self._name(place)}'")

    def _known(self, by_place: Mapping[int, T]) -> list[tuple[int, T]]:
        """What came from places where somebody is, in order."""
        return [(place, one) for place, one in sorted(by_place.items()) if 1 <= place <= self._num_sites]

    def _signer(self, place: int) -> bytes:
        return self.roster[self._name(place)]

    def _name(self, place: int) -> str:
        return self.described.participants[place - 1]

    def _leave_out(self, place: int, reason: str) -> None:
        self.left_out[self._name(place)] = reason

    def _require(self, there: Iterable[int], needed: int, did: str) -> None:
        count = len(list(there))
        if count < needed:
            raise self._ended(f"{count} of {self._num_sites} sites {did}, and {needed} must")

    def _ended(self, reason: str) -> SecureSumError:
        return SecureSumError(
            f"Round {self.described.round}, '{self.described.group}': the secure sum was given up, since "
            f"{reason}. The sum stays closed. Before its survivors were confirmed it can be begun anew with "
            "fresh keys; after that, the round goes on without it. The threshold cannot be lowered."
        )


def _combined(held: Mapping[int, bytes], chosen: tuple[int, ...]) -> bytes | None:
    try:
        return sharing.combine({sender: held[sender] for sender in chosen})
    except SecureSumError:
        return None
