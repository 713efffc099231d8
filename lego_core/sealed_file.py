"""Files that a thief of the disk cannot read, nor change, cut or exchange unseen.

magic | nonce 12 | file key, wrapped 48 | chunk 0 | chunk 1 | ... | last chunk

Each file has a random key, wrapped by the owner's. Chunks of 1 MiB are sealed with AES-256-GCM; a
chunk's nonce holds its number and whether it is the last.

Source: Hoang, Reyhanitabar, Rogaway, Vizár (2015), Online Authenticated-Encryption (STREAM), in the form of
the file format age.
"""

import os
import secrets
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, final

from lego_core.errors import PrivacyError
from lego_core.signing import write_secret

MAGIC = b"LEGO sealed 1\n"
CHUNK_BYTES = 1024 * 1024
TAG_BYTES = 16
NONCE_BYTES = 12
KEY_BYTES = 32
HEADER_BYTES = len(MAGIC) + NONCE_BYTES + KEY_BYTES + TAG_BYTES


@final
class SealingKey:
    """The owner's key; it never shows itself.

    Args:
        secret: Its 32 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._cipher = _aes_gcm(secret)

    def __repr__(self) -> str:
        return "SealingKey(…)"

    @staticmethod
    def make(path: Path) -> "SealingKey":
        """Draw a fresh key from the operating system, and keep it in a file that only its owner may read.

        Raises:
            PrivacyError: If there is a file already, or none can be written.
        """
        secret = secrets.token_bytes(KEY_BYTES)
        write_secret(path, secret)
        return SealingKey(secret)

    @staticmethod
    def load(path: Path) -> "SealingKey":
        """Read a key file: 32 bytes.

        Raises:
            PrivacyError: If it cannot be read, has another size, or others than its owner may read it.
        """
        try:
            with path.open("rb") as file:
                others = os.fstat(file.fileno()).st_mode & 0o077
                secret = file.read(KEY_BYTES + 1)
        except OSError as error:
            raise PrivacyError(
                f"Key file '{path.name}' cannot be read ({error.strerror}). Give the path of a key, or make "
                "one with 'fedlego keys make-sealing FILE'.",
                local=str(path),
            ) from error
        if others or len(secret) != KEY_BYTES:
            raise PrivacyError(
                f"Key file '{path.name}' is not a file of {KEY_BYTES} bytes that its owner alone may use. "
                "Give the file that 'fedlego keys make-sealing FILE' wrote, with its rights (chmod 600).",
                local=str(path),
            )
        return SealingKey(secret)

    def wrap(self, secret: bytes, *, nonce: bytes, about: bytes) -> bytes:
        """Seal the key of a file."""
        return self._cipher.encrypt(nonce, secret, about)

    def unwrap(self, wrapped: bytes, *, nonce: bytes, about: bytes) -> bytes | None:
        """Open the key of a file; None if it is of another owner, or of something else."""
        return _opened(self._cipher, nonce, wrapped, about)


def seal(content: bytes, path: Path, *, key: SealingKey, about: str = "") -> None:
    """Write a sealed file, whole or not at all.

    Args:
        content: What to hide.
        path: Where to; a file that was there is replaced.
        key: The owner's.
        about: What it is; whoever opens the file must say the same, so that no other file of
            this owner can stand in its place.

    Raises:
        PrivacyError: If it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            for piece in _sealed(content, key, about.encode()):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise PrivacyError(
            f"Sealed file '{path.name}' cannot be written ({error.strerror}). Make room on the disk, or mend "
            "the folder's rights.",
            local=str(path),
        ) from error


def open_sealed(path: Path, *, key: SealingKey, about: str = "") -> bytes:
    """Read a sealed file; nothing is given before all of it was checked.

    Args:
        path: The file.
        key: Its owner's.
        about: What it should be.

    Raises:
        PrivacyError: If it cannot be read, is none, is of another key, or was changed, cut or exchanged.
    """
    try:
        written = path.read_bytes()
    except OSError as error:
        raise PrivacyError(
            f"Sealed file '{path.name}' cannot be read ({error.strerror}). Give the path of a sealed file.",
            local=str(path),
        ) from error
    if not written.startswith(MAGIC):
        raise PrivacyError(
            f"'{path.name}' is no sealed file of a form that this version reads. Give another file, or "
            "install the version that wrote it.",
            local=str(path),
        )
    header, chunks = written[:HEADER_BYTES], memoryview(written)[HEADER_BYTES:]
    nonce, wrapped = header[len(MAGIC) :][:NONCE_BYTES], header[len(MAGIC) + NONCE_BYTES :]
    secret = key.unwrap(wrapped, nonce=nonce, about=MAGIC + about.encode())
    if secret is None:
        raise PrivacyError(
            f"Sealed file '{path.name}' does not open: the key is another one, its beginning was changed, or "
            "it was put in the place of another file. Use the key it was sealed with, or an older copy.",
            local=str(path),
        )
    return _unsealed(chunks, secret, path)


def _sealed(content: bytes, key: SealingKey, about: bytes) -> Iterator[bytes]:
    secret, nonce = secrets.token_bytes(KEY_BYTES), secrets.token_bytes(NONCE_BYTES)
    yield MAGIC + nonce + key.wrap(secret, nonce=nonce, about=MAGIC + about)
    cipher, whole = _aes_gcm(secret), memoryview(content)
    starts = range(0, max(len(content), 1), CHUNK_BYTES)
    for number, start in enumerate(starts):
        last = number == len(starts) - 1
        yield cipher.encrypt(_nonce(number, last=last), whole[start : start + CHUNK_BYTES], None)


def _unsealed(chunks: memoryview, secret: bytes, path: Path) -> bytes:
    cipher, opened = _aes_gcm(secret), bytearray()
    starts = range(0, max(len(chunks), 1), CHUNK_BYTES + TAG_BYTES)
    for number, start in enumerate(starts):
        nonce = _nonce(number, last=number == len(starts) - 1)
        plain = _opened(cipher, nonce, chunks[start : start + CHUNK_BYTES + TAG_BYTES], None)
        if plain is None or (number and not plain):
            raise PrivacyError(
                f"Sealed file '{path.name}' was changed, cut off or put together anew: piece {number + 1} of "
                f"{len(starts)} does not hold. Nothing of it was read. Use an older copy, and keep both.",
                local=str(path),
            )
        opened += plain
    return bytes(opened)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(NONCE_BYTES - 1, "big") + bytes([last])


def _opened(cipher: Any, nonce: bytes, sealed: bytes | memoryview, about: bytes | None) -> bytes | None:
    if len(nonce) != NONCE_BYTES or len(sealed) < TAG_BYTES:
        return None
    try:
        return cipher.decrypt(nonce, sealed, about)
    except import_module("cryptography.exceptions").InvalidTag:
        return None


def _aes_gcm(secret: bytes) -> Any:
    try:
        aead = import_module("cryptography.hazmat.primitives.ciphers.aead")
    except ImportError:
        raise PrivacyError(
            "Sealed files need the package 'cryptography', which is not installed. Install the extra "
            "'signing', and try again."
        ) from None
    return aead.AESGCM(secret)
