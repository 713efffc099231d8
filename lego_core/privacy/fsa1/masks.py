"""Masks: streams of AES that hide one site's words and vanish when all sites are added."""

from collections.abc import Iterator, Mapping
from typing import final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from jaxtyping import UInt32

WIDE = 4  # words of a wide number
CHUNK = 65_536  # words at a time: 256 KiB stay in a core's second cache while every mask passes over
_ZEROS = memoryview(bytes(4 * CHUNK))


@final
class Masks:
    """Streams to add to one vector, piece by piece, from its beginning to its end.

    Args:
        signs: Keys of 32 bytes, each used for this vector alone, and whether its stream is added (+1)
            or subtracted (-1).
        narrow: How many words at the beginning are numbers of their own, modulo 2^32; after them,
            four words are one number, modulo 2^128.

    Guarantees:
        Applying the same keys with opposite signs gives the words back, bit for bit. One key
        or more makes them uniform for whoever lacks it. Memory: 256 KiB beside the words.

    Source:
        AES-256 in counter mode from block 0: FIPS 197 and NIST SP 800-38A, section 6.5. Words of the
        stream are little-endian.
    """

    def __init__(self, signs: Mapping[bytes, int], *, narrow: int) -> None:
        self._streams = [(_stream(key), sign > 0) for key, sign in signs.items()]
        self._narrow = narrow
        self._buffer = np.empty(CHUNK, dtype="<u4")
        self._bytes = self._buffer.data.cast("B")

    def apply(self, words: UInt32[np.ndarray, "W"]) -> None:
        """Mask the whole vector, in place."""
        for start, end in pieces(len(words), narrow=self._narrow):
            self.apply_piece(words[start:end], wide=start >= self._narrow)

    def apply_piece(self, part: UInt32[np.ndarray, "W"], *, wide: bool) -> None:
        """Mask the next piece, one of those that `pieces` gives."""
        words, zeros = self._buffer[: len(part)], _ZEROS[: 4 * len(part)]
        for stream, adds in self._streams:
            stream.update_into(zeros, self._bytes)
            if wide:
                add_wide(part, words if adds else _negative(words))
            elif adds:
                np.add(part, words, part)
            else:
                np.subtract(part, words, part)


def pieces(length: int, *, narrow: int) -> Iterator[tuple[int, int]]:
    """Where each chunk of a vector begins and ends; none holds narrow and wide words."""
    for begin, stop in ((0, min(narrow, length)), (narrow, length)):
        for start in range(begin, stop, CHUNK):
            yield start, min(start + CHUNK, stop)


def add(total: UInt32[np.ndarray, "W"], words: UInt32[np.ndarray, "W"], *, narrow: int) -> None:
    """Add a vector to another, in place."""
    np.add(total[:narrow], words[:narrow], total[:narrow])
    add_wide(total[narrow:], words[narrow:])


def add_wide(total: UInt32[np.ndarray, "W"], words: UInt32[np.ndarray, "W"]) -> None:
    """Add wide numbers, in place, with carries from word to word."""
    carry = np.zeros(len(total) // WIDE, dtype=np.uint64)
    for place in range(WIDE):
        carry += total[place::WIDE]
        carry += words[place::WIDE]
        total[place::WIDE] = carry & np.uint64(0xFFFFFFFF)
        carry >>= np.uint64(32)


def _negative(words: UInt32[np.ndarray, "W"]) -> UInt32[np.ndarray, "W"]:
    opposite = ~words
    one = np.zeros_like(opposite)
    one[::WIDE] = 1
    add_wide(opposite, one)
    return opposite


def _stream(key: bytes) -> CipherContext:
    return Cipher(AES256(key), CTR(bytes(16))).encryptor()
