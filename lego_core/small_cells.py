"""Which counts may be shown together, so that no small one follows from the others by subtraction.

A count of 1 to 9 patients is a *small cell* (or up to whatever a site has set). To leave it out is not
enough: where 40 hold a blood test and 35 of them a scan as well, 5 do not. So what would give it away
is left out too, the least important first. Nobody is no patient: a zero may follow from what is shown.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

SMALLEST_GROUP = 10
ROUNDING = 1e-9


def is_small(count: int, smallest: int) -> bool:
    """Whether a count is of somebody, and of too few."""
    return 0 < count < smallest


def shown_groups(
    held: Bool[np.ndarray, "B M"], groups: Sequence[Sequence[int]], *, smallest: int
) -> list[bool]:
    """Which groups of patients may be counted and scored.

    A group is made of those who hold some modalities at least. Shown numbers of patients can be added
    and subtracted; whatever comes out of it for those who hold some modalities and lack some others
    must not be small. Which sets of modalities nobody holds is taken to be known.

    Args:
        held: Which modalities each patient holds.
        groups: The modalities of each group, by their columns; important groups first.
        smallest: Fewest patients.

    Returns:
        One answer per group.
    """
    patterns, sizes = np.unique(held, axis=0, return_counts=True)
    small = [cell for cell in _cells(patterns) if is_small(int(cell @ sizes), smallest)]
    hidden = np.array(small).reshape(len(small), len(sizes))
    shown, answers = np.zeros((0, len(sizes))), []
    for group in groups:
        row = patterns[:, list(group)].all(axis=1).astype(float)
        more = np.vstack([shown, row])
        answers.append(bool(row @ sizes >= smallest) and not _follows(hidden, more))
        shown = more if answers[-1] else shown
    return answers


def shown_parts(
    counts: Int[np.ndarray, "N"], may_show: Bool[np.ndarray, "N"], *, smallest: int
) -> Bool[np.ndarray, "N"]:
    """Which parts of a whole may be counted, if their total is known.

    Args:
        counts: Patients in each part; nobody is in two.
        may_show: Which could be shown by themselves.
        smallest: Fewest patients.

    Returns:
        The same, with the smallest parts left out until those that are hidden are nobody, or enough
        to hide among.
    """
    shown = may_show & ~((counts > 0) & (counts < smallest))
    while shown.any() and is_small(int(counts[~shown].sum()), smallest):
        shown[min(np.flatnonzero(shown), key=lambda part: counts[part])] = False
    return shown


def shown_steps(remaining: Sequence[int], *, smallest: int) -> list[bool]:
    """Which of several falling numbers may be shown: those at which enough have left since the last one.

    Args:
        remaining: How many patients are left, from time to time.
        smallest: Fewest patients, both left and gone.
    """
    answers, last = [], None
    for count in remaining:
        is_step = last is None or not is_small(last - count, smallest)
        answers.append(count >= smallest and is_step)
        last = count if answers[-1] else last
    return answers


def _cells(patterns: Bool[np.ndarray, "P M"]) -> list[Float[np.ndarray, "P"]]:
    """Those who hold some modalities and lack some others, as sums of patterns, each cell once."""
    choices = product((None, True, False), repeat=patterns.shape[1])
    wanted = [[(m, held) for m, held in enumerate(choice) if held is not None] for choice in choices]
    cells = {tuple(np.all([patterns[:, m] == held for m, held in one], axis=0)) for one in wanted if one}
    return [np.array(cell, dtype=float) for cell in sorted(cells)]


def _follows(cells: Float[np.ndarray, "C P"], shown: Float[np.ndarray, "S P"]) -> bool:
    """Whether some cell is a sum of multiples of what is shown."""
    if not len(cells):
        return False
    multiples = np.linalg.pinv(shown)
    residue = cells - cells @ multiples @ shown
    return bool((np.abs(residue).max(axis=1) < ROUNDING).any())
