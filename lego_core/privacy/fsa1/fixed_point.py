"""Real numbers as residues modulo 2^32 that add up exactly, whatever the order."""

import math

import numpy as np
from jaxtyping import Float32, Float64, UInt32

from lego_core.errors import SecureSumError

WORD_BITS = 32
_LARGEST_SUM = 2 ** (WORD_BITS - 1) - 1


def fraction_bits(num_sites: int, clip: float) -> int:
    """How many bits a number may have behind the point, so that no sum over all sites can wrap.

    Args:
        num_sites: Number of sites S.
        clip: The largest size of a number.

    Raises:
        SecureSumError: If no sum of so many numbers of that size fits.
    """
    room = (_LARGEST_SUM / num_sites - 1) / clip
    if room < 1:
        raise SecureSumError(
            f"The sum of {num_sites} numbers of up to {clip:g} does not fit {WORD_BITS} bits. Lower the "
            "clip, or sum over fewer sites."
        )
    return math.floor(math.log2(room))


def fits(num_sites: int, clip: float, bits: int) -> bool:
    """Whether sums over all sites cannot wrap with so many bits behind the point."""
    return 0 <= bits < WORD_BITS and num_sites * (clip * 2.0**bits + 1) <= _LARGEST_SUM


def to_fixed_point(
    values: Float32[np.ndarray, "P"],
    *,
    weight: float,
    clip: float,
    bits: int,
    out: UInt32[np.ndarray, "P"],
) -> None:
    """Write `weight` times the values, each within the clip, as residues.

    Args:
        values: P numbers. Not changed.
        weight: How much this site counts, in (0, 1].
        clip: Numbers beyond it are taken for it; a float32, or rounding could exceed it.
        bits: Bits behind the point, from `fraction_bits`.
        out: Where the residues go.

    Raises:
        SecureSumError: If a value is not a finite number.

    Guarantees:
        The sum of the residues of all sites, read by `from_fixed_point`, is the sum of their residues,
        exactly; each stands for its weighted clipped number to half a step of 2^-bits and to the 24 bits
        of a float32.
    """
    if not (np.isfinite(values.min(initial=0)) and np.isfinite(values.max(initial=0))):
        raise SecureSumError(
            "An update holds numbers that are not finite, and nothing of it was sent: the training diverged. "
            "Lower the learning rate."
        )
    quanta = out.view(np.float32)
    np.clip(values, np.float32(-clip), np.float32(clip), out=quanta)
    quanta *= np.float32(weight * 2.0**bits)
    np.rint(quanta, out=quanta)
    np.copyto(out.view(np.int32), quanta, casting="unsafe")


def from_fixed_point(residues: UInt32[np.ndarray, "P"], *, bits: int) -> Float64[np.ndarray, "P"]:
    """Read a sum."""
    return residues.view(np.int32) / 2.0**bits
