"""Which groups of a site's patients are scored and charted: none that is small, or tells of a small one."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from lego_core.records import Cohort
from lego_core.small_cells import is_small, shown_groups
from lego_core.tasks import Task


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """All non-empty subsets, small ones first, in the order of the modalities."""
    sizes = range(1, len(modalities) + 1)
    return [chosen for size in sizes for chosen in combinations(modalities, size)]


def groups_to_score(cohort: Cohort, modalities: Sequence[str], *, smallest: int) -> list[tuple[str, ...]]:
    """The sets of modalities whose holders may be counted and scored, without telling of too few.

    Those who hold all come first, then those who hold single modalities.

    Args:
        cohort: Patients of one part.
        modalities: Those in question.
        smallest: Fewest patients.
    """
    names = tuple(modalities)
    groups = list(dict.fromkeys([names, *subsets(names)])) if names else []
    held = np.array(
        [[name in record.modalities for name in names] for record in cohort.records], dtype=bool
    ).reshape(len(cohort), len(names))
    columns = [[names.index(name) for name in group] for group in groups]
    answers = shown_groups(held, columns, smallest=smallest)
    return [group for group, is_shown in zip(groups, answers, strict=True) if is_shown]


def groups_to_chart(
    test: Cohort, held: Sequence[str], groups: Sequence[tuple[str, ...]], *, task: Task, smallest: int
) -> list[tuple[str, ...]]:
    """Those groups whose charts, held against one another, count no few events, classes or labels."""
    charted: list[tuple[str, ...]] = []
    for group in groups:
        if len(group) not in {1, len(held)}:
            continue
        between = [_without(test, outer, inner) for outer, inner in _nested(group, charted)]
        counts = [(len(one), task.count_outcomes(outcomes_of(one)).counts) for one in between if len(one)]
        cells = [int(n) for size, seen in counts for n in (*seen, *(size - seen))]
        if not any(is_small(count, smallest) for count in cells):
            charted.append(group)
    return charted


def _nested(
    group: tuple[str, ...], others: Sequence[tuple[str, ...]]
) -> Iterable[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The larger and the smaller of every two groups of patients of which one lies in the other."""
    for other in others:
        if set(group) < set(other):
            yield group, other
        elif set(other) < set(group):
            yield other, group


def _without(cohort: Cohort, outer: Sequence[str], inner: Sequence[str]) -> Cohort:
    """Those who hold the modalities of the larger group and not all of the smaller one's."""
    held = cohort.holding(*outer)
    return held.keep(one for one in held.records if not set(inner) <= one.modalities.keys())


def outcomes_of(cohort: Cohort) -> Tensor:
    """What became of each patient."""
    return torch.tensor([record.outcome.values for record in cohort.records]).float()
