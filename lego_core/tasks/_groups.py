"""Groups of patients that are large enough to be shown."""

import numpy as np
from jaxtyping import Float, Int


def shown(count: int, *, smallest: int) -> int | None:
    """A number of patients, or None if it is too small to be shown."""
    return count if count >= smallest else None


def groups_in_order(
    values: Float[np.ndarray, "B"], *, at_most: int, smallest: int
) -> list[Int[np.ndarray, "_"]]:
    """Cut patients, ordered by a value, into groups of nearly equal size, none too small.

    Returns:
        Indices of the patients of each group, lowest values first; no group if there are
        fewer patients than a group must have.
    """
    number = min(at_most, len(values) // smallest)
    return np.array_split(np.argsort(values, kind="stable"), number) if number else []
