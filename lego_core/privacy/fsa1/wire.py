"""How numbers and sets become bytes; every use has a tag, so that a key of one serves no other."""

import hashlib
import struct
from collections.abc import Iterable

from lego_core.errors import SecureSumError

SUITE = "FSA1"
MOST_SITES = 0xFFFF


def tagged(tag: str, *parts: bytes) -> bytes:
    """Write down what is signed, derived or hashed: the tag and the parts, each behind its length."""
    return b"".join(struct.pack("<Q", len(part)) + part for part in (f"{SUITE}/{tag}".encode(), *parts))


def digest(tag: str, *parts: bytes) -> bytes:
    """SHA-256 of what `tagged` writes: 32 bytes."""
    return hashlib.sha256(tagged(tag, *parts)).digest()


def index_bytes(*indexes: int) -> bytes:
    """Places in the sorted list of participants, from 1: two bytes each, little-endian.

    Raises:
        SecureSumError: If there is no such place.
    """
    if any(not 1 <= index <= MOST_SITES for index in indexes):
        raise SecureSumError(
            f"A message of the secure sum names a place outside 1 to {MOST_SITES}. Nothing was answered. Run "
            "the same code at both ends."
        )
    return struct.pack(f"<{len(indexes)}H", *indexes)


def set_bytes(indexes: Iterable[int]) -> bytes:
    """A set of places: how many, then each, in ascending order."""
    ordered = sorted(indexes)
    return struct.pack("<I", len(ordered)) + index_bytes(*ordered)


def read_set(packed: bytes) -> frozenset[int]:
    """Read what `set_bytes` wrote, and nothing else.

    Raises:
        SecureSumError: If the bytes are not those of an ascending set of places.
    """
    if len(packed) >= 4:
        (count,) = struct.unpack_from("<I", packed)
        if len(packed) == 4 + 2 * count:
            indexes = struct.unpack_from(f"<{count}H", packed, 4)
            if all(first < second for first, second in zip((0, *indexes), indexes, strict=False)):
                return frozenset(indexes)
    raise SecureSumError(
        f"A message of the secure sum names a set of sites in {len(packed)} bytes that cannot be read: it "
        "gives a count of four bytes, then ascending places of two bytes each. Nothing was revealed. Run "
        "the same code at both ends."
    )
