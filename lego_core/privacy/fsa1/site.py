"""A site's half of a session: five answers, in order, and nothing more."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jaxtyping import UInt32

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1 import sharing
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.keys import (
    Bundle,
    SessionSecrets,
    is_signature,
    own_key,
    pair_key,
    seal,
    transcript,
    unseal,
)
from lego_core.privacy.fsa1.ledger import Ledger, SumKey
from lego_core.privacy.fsa1.masks import Masks, pieces
from lego_core.privacy.fsa1.memory import MaskedVector, SiteMemory
from lego_core.privacy.fsa1.neighbours import RoundTable
from lego_core.privacy.fsa1.vectors import AbstractPart, write_all
from lego_core.privacy.fsa1.wire import digest, index_bytes, set_bytes, tagged


@final
@dataclass
class SiteSession:
    """One site in one session, which its limits have let pass; asked in the order of its methods.

    A question that comes again, byte for byte, gets the same answer; another one in its place ends the
    session here, and so does whatever else is not as it should be.

    Args:
        described: The session, which the site has accepted.
        site: Who this is.
        identity: The site's lasting Ed25519 key.
        roster: The Ed25519 public keys of all sites, by name.
        ledger: Where it is noted, for good, how far the session came.
        memory: What the session has come to; a new one, with fresh secrets, if not given.

    Guarantees:
        However its state is copied, put back or asked in parallel: no stage is answered in two ways, and of
        nobody are both secrets handed out.
    """

    STAGES = ("keys", "shares", "masked", "confirm", "unmask")

    described: SessionDescriptor
    site: str
    identity: Ed25519PrivateKey
    roster: Mapping[str, bytes]
    ledger: Ledger
    memory: SiteMemory = field(default_factory=SiteMemory.begin)

    def __post_init__(self) -> None:
        self._sid = self.described.sid
        self.place = self.described.places[self.site]

    def keys(self) -> bytes:
        """Show public keys: 160 bytes, signed."""
        return self._answer("keys", lambda: b"", lambda secrets: self._bundle(secrets).packed())

    def shares(self, bundles: Mapping[int, bytes]) -> dict[int, bytes]:
        """Deal shares of both secrets out, one sealed piece of 82 bytes for each neighbour.

        Args:
            bundles: What all sites showed, by place.

        Raises:
            SecureSumError: If a bundle is not signed by its site, a key is there twice, this site's own
                bundle is another, or sites are too few.
        """
        return self._answer("shares", lambda: _packed(bundles), lambda secrets: self._deal(secrets, bundles))

    def masked(
        self,
        sealed: Mapping[int, bytes],
        *,
        sharing_sites: frozenset[int],
        parts: Sequence[AbstractPart],
        model_sha256: str,
        received_sha256: str,
    ) -> MaskedVector:
        """Hide the vector.

        Args:
            sealed: The pieces that the neighbours sealed for this site, by place.
            sharing_sites: Everybody who dealt shares out.
            parts: What this site adds, end to end.
            model_sha256: Hash of the weights that all sites are sent; those of this site are among them.
            received_sha256: Hash of the weights that this site itself was sent.

        Raises:
            SecureSumError: If a piece cannot be opened, the weights are not those of the session, the
                vector does not fit, or sites are too few.
        """

        def request() -> bytes:
            hashes = model_sha256.encode(), received_sha256.encode()
            return digest("masked", _packed(sealed), set_bytes(sharing_sites), *hashes)

        return self._answer(
            "masked",
            request,
            lambda secrets: self._mask(secrets, sealed, sharing_sites, parts, model_sha256, received_sha256),
        )

    def confirm(self, sharing_sites: frozenset[int], survivors: frozenset[int]) -> bytes:
        """Sign whose sum may be opened, after noting it for good: 64 bytes.

        Raises:
            SecureSumError: If the sets cannot be right, are too small, or others were noted before.
        """
        return self._answer(
            "confirm",
            lambda: set_bytes(sharing_sites) + set_bytes(survivors),
            lambda _: self._confirm(sharing_sites, survivors),
        )

    def unmask(self, signatures: Mapping[int, bytes]) -> dict[int, bytes]:
        """Hand out what opens the sum: of each site one share, of 33 bytes; and forget all secrets.

        Of a survivor the share of its own seed, of a lost site the share of its masking key; never both.

        Raises:
            SecureSumError: If fewer than a threshold of survivors signed the same sets.
        """
        shares = self._answer("unmask", lambda: _packed(signatures), lambda _: self._open(signatures))
        self.memory.forget()
        return shares

    # ---- what the answers are made of ------------------------------------------------------

    def _bundle(self, secrets: SessionSecrets) -> Bundle:
        return Bundle.of(secrets, sid=self._sid, place=self.place, identity=self.identity)

    def _deal(self, secrets: SessionSecrets, bundles: Mapping[int, bytes]) -> dict[int, bytes]:
        self.memory.bundles = {place: Bundle.read(packed) for place, packed in bundles.items()}
        if self.memory.bundles.get(self.place) != self._bundle(secrets):
            raise _ended("the server shows other keys in this site's name")
        if not set(bundles) <= set(self.described.places.values()):
            raise _ended("keys came from places where nobody is")
        if len(bundles) < self.described.fewest:
            raise _ended(f"{len(bundles)} sites showed keys and {self.described.fewest} are needed")
        public = [key for bundle in self.memory.bundles.values() for key in (bundle.channel, bundle.masking)]
        if len(set(public)) < len(public):
            raise _ended("two sites show the same key")
        self.memory.th = transcript(bundles, sid=self._sid)
        names = self.described.participants
        holders = sorted(self._holders)
        for place in holders:
            signer = self.roster[names[place - 1]]
            if not self.memory.bundles[place].is_signed_by(signer, sid=self._sid, place=place):
                raise _ended(f"site '{names[place - 1]}' did not sign the keys shown in its name")
        dealt = [
            sharing.split(secret, threshold=self.described.threshold, places=holders)
            for secret in (secrets.own_seed, secrets.masking)
        ]
        self.memory.held[self.place] = (dealt[0][self.place], dealt[1][self.place])
        return {
            place: seal(
                dealt[0][place] + dealt[1][place], secrets.channel, self.memory.bundles[place].channel,
                sender=self.place, receiver=place, th=self.memory.th,
            )
            for place in holders
            if place != self.place
        }  # fmt: skip

    def _mask(
        self,
        secrets: SessionSecrets,
        sealed: Mapping[int, bytes],
        sharing_sites: frozenset[int],
        parts: Sequence[AbstractPart],
        model_sha256: str,
        received_sha256: str,
    ) -> MaskedVector:
        described = self.described
        if model_sha256 != described.model_sha256:
            raise _ended("the weights that came are not those that all sites were told to train on")
        if not sharing_sites <= set(self.memory.bundles) or self.place not in sharing_sites:
            raise _ended("the sites said to share are not those that showed keys")
        if set(sealed) != self._neighbours & sharing_sites:
            raise _ended("the shares that came are not those of the sites said to share")
        if len(sharing_sites) < described.fewest or len(sealed) + 1 < described.threshold:
            raise _ended(f"{len(sharing_sites)} sites share, which is too few")
        words = sum(len(part) for part in parts)
        if words != described.dim:
            raise _ended(f"the vector has {words} words and the session is for {described.dim}")
        for place, piece in sealed.items():
            plain = unseal(
                piece, secrets.channel, self.memory.bundles[place].channel,
                sender=place, receiver=self.place, th=self.memory.th,
            )  # fmt: skip
            if len(plain) != 2 * sharing.SHARE_BYTES:
                raise _ended(f"the shares of place {place} have {len(plain)} bytes")
            self.memory.held[place] = (plain[: sharing.SHARE_BYTES], plain[sharing.SHARE_BYTES :])
        self.memory.sharing, self.memory.received_sha256 = sharing_sites, received_sha256
        residues = self._hidden(secrets, parts)
        signed = signed_vector(residues, th=self.memory.th, sharing_sites=sharing_sites)
        return MaskedVector(residues, self.identity.sign(signed))

    def _hidden(self, secrets: SessionSecrets, parts: Sequence[AbstractPart]) -> UInt32[np.ndarray, "W"]:
        """The vector as residues, piece by piece under all masks."""
        signs = {own_key(secrets.own_seed, th=self.memory.th): 1}
        for place in sorted(self._neighbours & self.memory.sharing):
            key = pair_key(
                secrets.masking,
                self.memory.bundles[place].masking,
                places=(self.place, place),
                th=self.memory.th,
            )
            signs[key] = 1 if place > self.place else -1
        narrow = self.described.clipped_dim
        masks, residues = Masks(signs, narrow=narrow), np.empty(self.described.dim, dtype=np.uint32)
        for start, end in pieces(len(residues), narrow=narrow):
            write_all(parts, residues[start:end], start)
            masks.apply_piece(residues[start:end], wide=start >= narrow)
        return residues

    def _confirm(self, sharing_sites: frozenset[int], survivors: frozenset[int]) -> bytes:
        described = self.described
        if sharing_sites != self.memory.sharing:
            raise _ended("the server names other sharing sites than before")
        if not survivors <= sharing_sites or self.place not in survivors:
            raise _ended("the survivors are not among those who share, or this site is not among them")
        fewest = max(described.min_survivors, described.fewest)
        if len(survivors) < fewest:
            raise _ended(f"the sum of {len(survivors)} sites was to be opened, and {fewest} are needed")
        if len(self._holders & survivors) < described.threshold:
            raise _ended("of this site's neighbours too few are left to open the sum")
        if not self._table.binds(survivors):
            raise _ended("the survivors are not all bound to one another, and a part could be opened alone")
        key = SumKey(described.run, described.group, described.round, self.memory.received_sha256)
        sites = frozenset(described.participants[place - 1] for place in survivors)
        self.ledger.confirm(key, sid=self._sid, sites=sites)
        self.memory.survivors = survivors
        return self.identity.sign(signed_sets(self.memory.th, sharing_sites, survivors))

    def _open(self, signatures: Mapping[int, bytes]) -> dict[int, bytes]:
        memory, names, valid = self.memory, self.described.participants, 0
        signed = signed_sets(memory.th, memory.sharing, memory.survivors)
        for place in sorted(self._holders & memory.survivors):
            signature, signer = signatures.get(place, b""), self.roster[names[place - 1]]
            valid += valid < self.described.threshold and is_signature(signature, signed, signer=signer)
        if valid < self.described.threshold:
            raise _ended(
                f"{valid} survivors signed these sets and {self.described.threshold} are needed to open them"
            )
        return {
            place: of_seed if place in memory.survivors else of_key
            for place, (of_seed, of_key) in sorted(memory.held.items())
        }

    # ---- order, repetition, memory ---------------------------------------------------------

    @property
    def _neighbours(self) -> frozenset[int]:
        return self._table.neighbours(self.place)

    @property
    def _holders(self) -> frozenset[int]:
        """Who holds shares of this site, and whose shares it holds."""
        return self._neighbours | {self.place}

    @cached_property
    def _table(self) -> RoundTable:
        """Asked only once the transcript is known, which then stays."""
        return RoundTable(self.memory.bundles, degree=self.described.neighbours, th=self.memory.th)

    def _answer(self, stage: str, request: Callable[[], bytes], make: Callable[[SessionSecrets], Any]) -> Any:
        """Answer, or end the session: whatever went wrong, nothing of it may be answered afterwards."""
        try:
            return self._answer_once(stage, request(), make)
        except BaseException:
            self.memory.forget()
            raise

    def _answer_once(self, stage: str, asked: bytes, make: Callable[[SessionSecrets], Any]) -> Any:
        """Answer again what was answered before, and nothing out of order."""
        if stage in self.memory.answers:
            before, answer = self.memory.answers[stage]
            if asked != before:
                raise _ended(f"the server asked twice for '{stage}', and for different things")
            return answer
        if self.memory.drawn is None:
            raise _ended("it was over before")
        if len(self.memory.answers) != self.STAGES.index(stage):
            raise _ended(f"'{stage}' was asked out of order")
        self.ledger.begin(self._sid, stage=stage)
        answer = make(self.memory.drawn)
        self.memory.answers[stage] = (asked, answer)
        return answer


def signed_vector(residues: UInt32[np.ndarray, "W"], *, th: bytes, sharing_sites: frozenset[int]) -> bytes:
    """What a site signs under its masked vector."""
    body = np.ascontiguousarray(residues, dtype="<u4").data.cast("B")
    return tagged("y", th, set_bytes(sharing_sites), hashlib.sha256(body).digest())


def signed_sets(th: bytes, sharing_sites: frozenset[int], survivors: frozenset[int]) -> bytes:
    """What a site signs to let a sum be opened."""
    return tagged("alive", th, set_bytes(sharing_sites), set_bytes(survivors))


def _packed(by_place: Mapping[int, bytes]) -> bytes:
    return digest("asked", *(index_bytes(place) + by_place[place] for place in sorted(by_place)))


def _ended(reason: str) -> SecureSumError:
    return SecureSumError(
        f"The site ended this session of the secure sum: {reason}. It sends nothing more in it. Begin anew, "
        "with fresh keys; if it happens again, look at who answers in the server's name."
    )
