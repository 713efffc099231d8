"""Chance that nobody can repeat: who takes part in a step, and the noise on what they say.

Both come from the operating system's cryptographic generator, never from the seed of a run: who
knew them could take the noise off again.
"""

import os
from collections.abc import Callable
from typing import final

import numpy as np
from jaxtyping import Bool, Float64
from scipy.special import ndtri
from torch import Tensor, from_numpy


@final
class Chance:
    """Fair draws.

    Args:
        entropy: So many random bytes; tests put in their own.

    Guarantees:
        Not against attacks on rounding: numbers of a computer are not real ones (Mironov, "On
        Significance of the Least Significant Bits For Differential Privacy." CCS 2012).
    """

    def __init__(self, entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._entropy = entropy

    def chosen(self, count: int, *, rate: float) -> Bool[np.ndarray, "{count}"]:
        """Choose each of `count` patients with the same probability, one without regard to another."""
        return self._uniform(count) < rate

    def normal(self, shape: tuple[int, ...], *, stddev: float) -> Float64[Tensor, "..."]:
        """Normal numbers with mean 0."""
        count = int(np.prod(shape, dtype=np.int64))
        return from_numpy(stddev * ndtri(self._uniform(count)).reshape(shape))

    def _uniform(self, count: int) -> Float64[np.ndarray, "{count}"]:
        """Numbers between 0 and 1, neither of which occurs: the middles of 2^52 equal steps."""
        drawn = np.frombuffer(self._entropy(8 * count), dtype=np.uint64)
        return ((drawn >> np.uint64(12)) + 0.5) * 2.0**-52  # with one bit more, the last would round to 1
