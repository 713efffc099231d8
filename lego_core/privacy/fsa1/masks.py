"""Masks: streams of AES that hide one site's residues and vanish when all sites are added."""

from collections.abc import Iterator, Mapping
from typing import final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from jaxtyping import UInt32

CHUNK = 65_536  # residues at a time: 256 KiB stay in a core's second cache while every mask passes over
_ZEROS = memoryview(bytes(4 * CHUNK))


@final
class Masks:
    """Streams to add to one vector, piece by piece.

    Args:
        signs: Keys of 32 bytes, each used for this vector alone, and whether its stream is added (+1)
            or subtracted (-1), modulo 2^32.

    Guarantees:
        Applying the same keys with opposite signs gives the residues back, bit for bit. One key
        or more makes them uniform for whoever lacks it. Memory: 256 KiB beside the residues.

    Source:
        AES-256 in counter mode from block 0: FIPS 197 and NIST SP 800-38A, section 6.5. Words of the
        stream are little-endian.
    """

    def __init__(self, signs: Mapping[bytes, int]) -> None:
        self._streams = [(_stream(key), np.add if sign > 0 else np.subtract) for key, sign in signs.items()]
        self._buffer = np.empty(CHUNK, dtype="<u4")
        self._bytes = self._buffer.data.cast("B")

    def apply(self, residues: UInt32[np.ndarray, "P"]) -> None:
        """Mask the next piece of the vector, in place."""
        for start, end in pieces(len(residues)):
            part, words = residues[start:end], self._buffer[: end - start]
            zeros = _ZEROS[: 4 * len(part)]
            for stream, combine in self._streams:
                stream.update_into(zeros, self._bytes)
                combine(part, words, part)


def pieces(length: int) -> Iterator[tuple[int, int]]:
    """Where each chunk of a vector begins and ends."""
    return ((start, min(start + CHUNK, length)) for start in range(0, length, CHUNK))


def _stream(key: bytes) -> CipherContext:
    return Cipher(AES256(key), CTR(bytes(16))).encryptor()
