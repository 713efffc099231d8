"""Features in few steps, so that a tree has few places to split at."""

from dataclasses import dataclass
from typing import Self, final

import numpy as np
from jaxtyping import Float


@final
@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Where the steps of each feature begin.

    Args:
        beginnings: Of every step but the first, in order, per feature.
    """

    beginnings: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, rows: Float[np.ndarray, "B F"], *, most: int) -> Self:
        """A step per value that occurs or, where more than `most` do, per quantile.

        A rare value of a feature with few values keeps its step, however rare it is.
        """
        levels = [_levels(column, most=most) for column in rows.T]
        return cls(tuple((own[1:] + own[:-1]) / 2 for own in levels))

    def number(self, rows: Float[np.ndarray, "B F"]) -> Float[np.ndarray, "B F"]:
        """The number of the step that each value is on."""
        columns = zip(self.beginnings, rows.T, strict=True)
        return np.stack([np.searchsorted(own, column) for own, column in columns], axis=1).astype(np.float32)


def _levels(column: Float[np.ndarray, "B"], *, most: int) -> Float[np.ndarray, "L"]:
    values = np.unique(column)
    return values if len(values) <= most else np.unique(np.quantile(column, np.linspace(0, 1, most)))
