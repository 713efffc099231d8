"""Who says so: Ed25519 keys in files, and signatures over JSON that is written in one way only.

`cryptography` is imported where it is used, so that whoever only reads a model need not have it.
"""

import json
import os
import struct
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, final

from pydantic import AfterValidator, Field

from lego_core._curve import is_public_key
from lego_core.errors import PrivacyError

DOMAIN = "LEGO"


def _a_point(key: str) -> str:
    if not is_public_key(bytes.fromhex(key)):
        raise ValueError(
            f"'{key[:12]}…' is no Ed25519 public key: no point of the curve that is fit to sign with; "
            "give what 'fedlego keys show' prints"
        )
    return key


PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$"), AfterValidator(_a_point)]


@final
class SigningKey:
    """A private key; it never shows itself.

    Args:
        private: Its 32 bytes.
    """

    def __init__(self, private: bytes) -> None:
        self._key = _ed25519().Ed25519PrivateKey.from_private_bytes(private)

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public[:12]}…)"

    @classmethod
    def make(cls) -> "SigningKey":
        """Draw a fresh key from the operating system; it cannot be seeded."""
        return cls(_ed25519().Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read a key file: PEM, as `save` and OpenSSL write it.

        Raises:
            PrivacyError: If it cannot be read, is no such key, or others than its owner may read it.
        """
        try:
            with path.open("rb") as file:
                others = os.fstat(file.fileno()).st_mode & 0o077
                content = file.read(64 * 1024)
        except OSError as error:
            raise PrivacyError(
                f"Key file '{path.name}' cannot be read ({error.strerror}). Give the path of a key, or make "
                "one with 'fedlego keys make FILE'.",
                local=str(path),
            ) from error
        if others:
            raise PrivacyError(
                f"Key file '{path.name}' may be used by others than its owner, so it may not be secret any "
                "more. Take their rights away (chmod 600), and make a new key if others use this machine.",
                local=str(path),
            )
        serialization = _cryptography("cryptography.hazmat.primitives.serialization")
        key: Any = None
        try:
            key = serialization.load_pem_private_key(content, password=None)
        except (ValueError, TypeError, _cryptography("cryptography.exceptions").UnsupportedAlgorithm):
            pass  # said below
        if not isinstance(key, _ed25519().Ed25519PrivateKey):
            raise PrivacyError(
                f"'{path.name}' is no private Ed25519 key in PEM without a passphrase. Give the file that "
                "'fedlego keys make FILE' wrote.",
                local=str(path),
            )
        return cls(key.private_bytes_raw())

    def save(self, path: Path) -> None:
        """Write a key file that only its owner may read.

        Raises:
            PrivacyError: If there is a file already, or none can be written.
        """
        serialization = _cryptography("cryptography.hazmat.primitives.serialization")
        content = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_secret(path, content)

    @property
    def public(self) -> str:
        """The public half: 64 hexadecimal digits."""
        return self._key.public_key().public_bytes_raw().hex()

    @property
    def identity(self) -> Any:
        """The Ed25519 private key of `cryptography`, for the secure sum."""
        return self._key

    def sign(self, content: bytes, *, tag: str) -> str:
        """Sign some bytes for one use.

        Args:
            content: What is signed.
            tag: What the signature is for; it holds for nothing else.

        Returns:
            128 hexadecimal digits.
        """
        return self._key.sign(tagged(tag, content)).hex()


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, and never over another.

    Raises:
        PrivacyError: If there is a file already, or none can be written.
    """
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise PrivacyError(
            f"There is a file '{path.name}' already, and what is written over is lost for good. "
            "Choose another name, or move the old one away.",
            local=str(path),
        ) from error
    except OSError as error:
        raise PrivacyError(
            f"File '{path.name}' cannot be written ({error.strerror}). Make room, or choose a folder "
            "that you may write to.",
            local=str(path),
        ) from error


def is_signed(content: bytes, signature: str, *, tag: str, by: str) -> bool:
    """Whether the owner of a public key signed these bytes, for this use.

    Args:
        content: What was signed.
        signature: Hexadecimal digits, or anything else, which is no signature.
        tag: What the signature is for.
        by: The public key, in hexadecimal digits.
    """
    try:
        public, signed = bytes.fromhex(by), bytes.fromhex(signature)
    except ValueError:
        return False
    if not is_public_key(public):
        return False
    try:
        _ed25519().Ed25519PublicKey.from_public_bytes(public).verify(signed, tagged(tag, content))
    except _cryptography("cryptography.exceptions").InvalidSignature:
        return False
    return True


def canonical_json(plain: Mapping[str, Any]) -> bytes:
    """Write a document in the one way that is signed and hashed: sorted keys, no spaces, ASCII."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode("ascii")


def tagged(tag: str, content: bytes) -> bytes:
    """Write down what is signed: the use and the content, each behind its length."""
    parts = (f"{DOMAIN}/{tag}".encode(), content)
    return b"".join(struct.pack("<Q", len(part)) + part for part in parts)


def _ed25519() -> Any:
    return _cryptography("cryptography.hazmat.primitives.asymmetric.ed25519")


def _cryptography(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise PrivacyError(
            "Keys and signatures need the package 'cryptography', which is not installed. Install the extra "
            "'signing', and try again."
        ) from None
