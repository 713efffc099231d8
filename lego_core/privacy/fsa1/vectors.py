"""What a site adds to a sum: parts of a vector, each with its own way from numbers to residues.

`Clipped` is for updates: one word per number, as fine as the sum allows. `Wide` is for statistics,
whose size nobody knows beforehand: four words per number.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, UInt32

from lego_core.errors import SecureSumError
from lego_core.privacy.fsa1.fixed_point import to_fixed_point
from lego_core.privacy.fsa1.masks import WIDE

WIDE_BITS = 128
BITS_BEHIND = 48  # behind the point of a wide number; with 16 bits of room for sums: numbers below 2^63
LARGEST = 2.0**63


class AbstractPart(ABC):
    """A piece of the vector."""

    @abstractmethod
    def __len__(self) -> int:
        """How many words it has."""

    @abstractmethod
    def write(self, out: UInt32[np.ndarray, "W"], start: int) -> None:
        """Write the words from `start` on, as many as `out` holds.

        Raises:
            SecureSumError: If a number is not finite, or too large.
        """


@final
@dataclass(frozen=True, eq=False)
class Clipped(AbstractPart):
    """Numbers of one known largest size, times a weight, and the weight behind them.

    Args:
        values: P numbers.
        weight: How much the site counts, in (0, 1].
        clip: Largest size; the weight is written as weight times clip.
        bits: Bits behind the point, from `fraction_bits`.
    """

    values: Float32[np.ndarray, "P"]
    weight: float
    clip: float
    bits: int

    def __len__(self) -> int:
        return len(self.values) + 1

    def write(self, out: UInt32[np.ndarray, "W"], start: int) -> None:
        """As `AbstractPart.write`; numbers beyond the clip are taken for it."""
        own = self.values[start : start + len(out)]
        settings = {"weight": self.weight, "clip": self.clip, "bits": self.bits}
        to_fixed_point(own, **settings, out=out[: len(own)])
        if len(out) > len(own):
            to_fixed_point(np.array([self.clip], dtype=np.float32), **settings, out=out[len(own) :])


@final
@dataclass(frozen=True, eq=False)
class Wide(AbstractPart):
    """Numbers of any size: four words each, which are one number modulo 2^128.

    Args:
        values: N numbers.

    Guarantees:
        Sums over up to 65,535 sites are exact to 2^-49 for each site, for numbers below 2^63; who
        sees the sum sees nothing of its parts, such as how many were negative.
    """

    values: Float64[np.ndarray, "N"]

    def __len__(self) -> int:
        return len(self.values) * WIDE

    def write(self, out: UInt32[np.ndarray, "W"], start: int) -> None:
        """As `AbstractPart.write`."""
        first, last = start // WIDE, -(-(start + len(out)) // WIDE)
        words = np.array([_words(value) for value in self.values[first:last]], dtype=np.uint32).reshape(-1)
        skip = start - first * WIDE
        out[:] = words[skip : skip + len(out)]


def read_wide(words: UInt32[np.ndarray, "W"]) -> Float64[np.ndarray, "N"]:
    """Read the sums of wide numbers."""
    half, sums = 2 ** (WIDE_BITS - 1), []
    for own in words.reshape(-1, WIDE).astype("<u4"):
        whole = int.from_bytes(own.tobytes(), "little")
        sums.append((whole - 2 * half if whole >= half else whole) / 2**BITS_BEHIND)
    return np.array(sums, dtype=np.float64)


def write_all(parts: Sequence[AbstractPart], out: UInt32[np.ndarray, "W"], start: int) -> None:
    """Write a piece of all parts laid end to end."""
    begin = 0
    for part in parts:
        first, last = max(start, begin), min(start + len(out), begin + len(part))
        if first < last:
            part.write(out[first - start : last - start], first - begin)
        begin += len(part)


def _words(value: float) -> list[int]:
    if not abs(value) < LARGEST:  # not a number fails here, too
        raise SecureSumError(
            "A statistic for the secure sum is not a finite number below 2^63, and nothing was sent. Look "
            "for broken values in the data."
        )
    whole = round(value * 2.0**BITS_BEHIND) % 2**WIDE_BITS
    return np.frombuffer(whole.to_bytes(WIDE_BITS // 8, "little"), dtype="<u4").tolist()
