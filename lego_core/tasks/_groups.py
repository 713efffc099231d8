"""Groups of patients that are large enough to be shown."""

import numpy as np
from jaxtyping import Float, Int

SMALLEST_GROUP = 10


def shown(count: int) -> int | None:
    """A number of patients, or None if it is too small to be shown."""
    return count if count >= SMALLEST_GROUP else None


def groups_in_order(values: Float[np.ndarray, "B"], *, at_most: int) -> list[Int[np.ndarray, "_"]]:
    """Cut patients, ordered by a value, into groups of nearly equal size, each of ten or more.

    Returns:
        Indices of the patients of each group, lowest values first; no group if there are
        fewer than ten patients.
    """
    number = min(at_most, len(values) // SMALLEST_GROUP)
    return np.array_split(np.argsort(values, kind="stable"), number) if number else []
