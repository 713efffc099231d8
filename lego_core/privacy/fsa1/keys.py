"""The keys of one session, what is derived from them, and who signed what."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1.wire import digest, index_bytes, tagged

KEY_BYTES = 32
SIGNATURE_BYTES = 64
BUNDLE_BYTES = 3 * KEY_BYTES + SIGNATURE_BYTES
_NONCE = bytes(12)  # never twice: every key seals one message, in one direction, of one session


@final
@dataclass(frozen=True, slots=True)
class SessionSecrets:
    """What a site draws for one session and forgets with it.

    Args:
        channel: Private X25519 key, for the channels that carry shares.
        masking: Private X25519 key, for the masks of pairs.
        own_seed: For the site's own mask.
    """

    channel: bytes = field(repr=False)
    masking: bytes = field(repr=False)
    own_seed: bytes = field(repr=False)

    @classmethod
    def draw(cls) -> "SessionSecrets":
        """Take fresh ones from the operating system; they cannot be seeded."""
        return cls(token_bytes(KEY_BYTES), token_bytes(KEY_BYTES), token_bytes(KEY_BYTES))


@final
@dataclass(frozen=True, slots=True)
class Bundle:
    """What a site shows of its session: two public keys and what binds it to its own seed."""

    channel: bytes
    masking: bytes
    commitment: bytes
    signature: bytes

    @classmethod
    def of(cls, drawn: SessionSecrets, *, sid: bytes, place: int, identity: Ed25519PrivateKey) -> "Bundle":
        """Make the bundle of these secrets, signed by their site."""
        body = (
            public_key(drawn.channel),
            public_key(drawn.masking),
            commitment(drawn.own_seed, sid=sid, place=place),
        )
        signed = tagged("keys", sid, index_bytes(place), b"".join(body))
        return cls(*body, identity.sign(signed))

    @classmethod
    def read(cls, packed: bytes) -> "Bundle":
        """Read 160 bytes.

        Raises:
            SecureSumError: If there are more or fewer.
        """
        if len(packed) != BUNDLE_BYTES:
            raise SecureSumError(
                f"A bundle of keys has {len(packed)} bytes, and {BUNDLE_BYTES} were expected. Nothing was "
                "revealed. Run the same code at both ends."
            )
        channel, masking, commitment = (
            packed[start : start + KEY_BYTES] for start in range(0, 3 * KEY_BYTES, KEY_BYTES)
        )
        return cls(channel, masking, commitment, packed[3 * KEY_BYTES :])

    def packed(self) -> bytes:
        """The 160 bytes that travel."""
        return self.channel + self.masking + self.commitment + self.signature

    def is_signed_by(self, signer: bytes, *, sid: bytes, place: int) -> bool:
        """Whether the site with this Ed25519 key made the bundle, for this session and this place."""
        body = self.channel + self.masking + self.commitment
        return is_signature(self.signature, tagged("keys", sid, index_bytes(place), body), signer=signer)


def public_key(private: bytes) -> bytes:
    """The public half of an X25519 key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def commitment(own_seed: bytes, *, sid: bytes, place: int) -> bytes:
    """What binds a site to its own seed without showing it."""
    return digest("commit", sid, index_bytes(place), own_seed)


def transcript(bundles: Mapping[int, bytes], *, sid: bytes) -> bytes:
    """Hash of who takes part with which keys; every later key and signature depends on it."""
    return digest("u1", sid, *(index_bytes(place) + bundles[place] for place in sorted(bundles)))


def pair_key(private: bytes, public: bytes, *, places: tuple[int, int], th: bytes) -> bytes:
    """The mask key of two sites; both derive the same one, each from its own private key."""
    return _derive(_agree(private, public), th, tagged("pair", index_bytes(*sorted(places))))


def own_key(own_seed: bytes, *, th: bytes) -> bytes:
    """The key of a site's own mask."""
    return _derive(own_seed, th, tagged("self"))


def seal(plain: bytes, private: bytes, public: bytes, *, sender: int, receiver: int, th: bytes) -> bytes:
    """Encrypt for one receiver of one session. The bytes are to be kept and sent again, never made again."""
    key = _derive(_agree(private, public), th, tagged("chan", index_bytes(sender, receiver)))
    return AESGCM(key).encrypt(_NONCE, plain, tagged("share", th, index_bytes(sender, receiver)))


def unseal(sealed: bytes, private: bytes, public: bytes, *, sender: int, receiver: int, th: bytes) -> bytes:
    """Decrypt what `seal` gave the sender.

    Raises:
        SecureSumError: If it was changed, or sealed for another pair or session.
    """
    key = _derive(_agree(private, public), th, tagged("chan", index_bytes(sender, receiver)))
    try:
        return AESGCM(key).decrypt(_NONCE, sealed, tagged("share", th, index_bytes(sender, receiver)))
    except InvalidTag as error:
        raise SecureSumError(
            f"The shares that came for site {receiver} in the name of site {sender} were changed on the way, "
            "or belong to another session. The site sends nothing more in this session. Look for what "
            "stands between the sites."
        ) from error


def is_signature(signature: bytes, message: bytes, *, signer: bytes) -> bool:
    """Whether the owner of this Ed25519 key signed the message."""
    try:
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _agree(private: bytes, public: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError as error:  # a point of small order, which would make the secret known to everybody
        raise SecureSumError(
            "A site shows a public key with which no secret can be agreed. The site sends nothing "
            "more in this session. Have that site draw new keys."
        ) from error


def _derive(secret: bytes, th: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, th, info).derive(secret)
