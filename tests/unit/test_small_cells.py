"""Counts that are shown never determine a small one that is not."""

from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from lego_core.small_cells import shown_groups, shown_parts, shown_steps

LIMIT = 10
MODALITIES = 3
PATTERNS = [np.array(one) for one in product((False, True), repeat=MODALITIES)]
GROUPS = [tuple(range(MODALITIES))] + [
    group for size in range(1, MODALITIES) for group in combinations(range(MODALITIES), size)
]

counts_of_patterns = st.lists(st.sampled_from([0, 1, 4, 9, 10, 12, 30]), min_size=8, max_size=8)


def patients(counts: list[int]) -> np.ndarray:
    """So many patients of each pattern of modalities."""
    return np.repeat(np.array(PATTERNS), counts, axis=0)


def of_group(group: tuple[int, ...]) -> np.ndarray:
    """Which patterns belong to those who hold some modalities."""
    return np.array([pattern[list(group)].all() for pattern in PATTERNS], dtype=float)


def bounds(cell: np.ndarray, shown: list[np.ndarray], counts: np.ndarray) -> tuple[float, float]:
    """All that a stranger can work out of a cell from the shown totals: the least and the most."""
    rows = np.array(shown).reshape(-1, len(counts))
    known = {"A_eq": rows, "b_eq": rows @ counts} if len(rows) else {}
    ends = [linprog(sign * cell, bounds=(0, 1000), **known) for sign in (1, -1)]
    assert all(end.success for end in ends)
    return ends[0].fun, -ends[1].fun


# ---- groups that overlap ----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(counts_of_patterns)
def test_no_small_cell_follows_from_the_groups_that_are_shown(counts: list[int]) -> None:
    sizes = np.array(counts, dtype=float)
    answers = shown_groups(patients(counts), GROUPS, smallest=LIMIT)
    shown = [of_group(group) for group, is_shown in zip(GROUPS, answers, strict=True) if is_shown]

    for wanted in product((None, True, False), repeat=MODALITIES):
        cell = np.array(
            [all(w in (None, h) for w, h in zip(wanted, p, strict=True)) for p in PATTERNS], float
        )
        if 0 < cell @ sizes < LIMIT:
            low, high = bounds(cell, shown, sizes)
            assert high - low > 1e-6, (wanted, counts)


@given(st.lists(st.sampled_from([0, 10, 12, 30]), min_size=8, max_size=8))
def test_where_nothing_is_small_everything_is_shown(counts: list[int]) -> None:
    answers = shown_groups(patients(counts), GROUPS, smallest=LIMIT)

    assert answers == [bool(of_group(group) @ np.array(counts) > 0) for group in GROUPS]


@given(counts_of_patterns)
def test_group_that_is_shown_is_large_enough(counts: list[int]) -> None:
    answers = shown_groups(patients(counts), GROUPS, smallest=LIMIT)

    assert all(
        of_group(one) @ np.array(counts) >= LIMIT for one, ok in zip(GROUPS, answers, strict=True) if ok
    )


HELD = {"both": (1, 1), "first": (1, 0), "second": (0, 1)}


@pytest.mark.parametrize(
    ("both", "first", "second", "shown"),
    [
        (35, 5, 0, [True, False, True]),  # 40 hold the first and 35 both: 5 hold it alone
        (35, 0, 0, [True, True, True]),
        (35, 10, 12, [True, True, True]),
        (35, 5, 5, [True, False, False]),
        (5, 35, 10, [False, True, True]),
        (9, 1, 1, [False, True, True]),
        (0, 9, 0, [False, False, False]),
    ],
)
def test_groups_whose_difference_is_small_are_not_both_shown(
    both: int, first: int, second: int, shown: list[bool]
) -> None:
    held = np.repeat(np.array(list(HELD.values()), dtype=bool), [both, first, second], axis=0)

    assert shown_groups(held, [(0, 1), (0,), (1,)], smallest=LIMIT) == shown


def test_what_comes_first_is_shown_rather() -> None:
    held = np.array([[True, True]] * 20 + [[True, False]] * 5)

    assert shown_groups(held, [(0, 1), (0,)], smallest=LIMIT) == [True, False]
    assert shown_groups(held, [(0,), (0, 1)], smallest=LIMIT) == [True, False]


def test_nobody_can_be_shown_of_nobody() -> None:
    assert shown_groups(np.zeros((0, 2), dtype=bool), [(0, 1), (0,)], smallest=LIMIT) == [False, False]


# ---- parts of a whole --------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_hidden_parts_of_a_known_whole_are_nobody_or_enough_to_hide_among(counts: list[int]) -> None:
    sizes = np.array(counts)
    shown = shown_parts(sizes, np.ones(len(counts), dtype=bool), smallest=LIMIT)

    hidden = sizes[~shown].sum()
    assert not any(0 < count < LIMIT for count in sizes[shown])
    assert hidden == 0 or hidden >= min(LIMIT, sizes.sum())
    if sizes.sum() >= LIMIT:
        for part in np.flatnonzero(~shown):
            if 0 < sizes[part] < LIMIT:
                cell = np.eye(len(counts))[part]
                known = [np.ones(len(counts)), *np.eye(len(counts))[shown]]
                low, high = bounds(cell, known, sizes)
                assert high - low > 1e-6


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ([40, 20, 4], [True, False, False]),  # 64 in all: 40 and 20 would tell of the 4
        ([40, 20, 10], [True, True, True]),
        ([40, 20, 0], [True, True, True]),
        ([40, 6, 4], [True, False, False]),  # 10 in all, among whom each can hide
        ([40, 5, 4], [False, False, False]),
        ([4], [False]),
    ],
)
def test_part_that_would_give_a_small_one_away_is_hidden_too(counts: list[int], shown: list[bool]) -> None:
    answers = shown_parts(np.array(counts), np.ones(len(counts), dtype=bool), smallest=LIMIT)

    assert answers.tolist() == shown


# ---- numbers that fall ----------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 60), max_size=20), st.integers(1, 20))
def test_between_two_shown_numbers_nobody_left_or_enough_did(numbers: list[int], smallest: int) -> None:
    falling = sorted(numbers, reverse=True)

    answers = shown_steps(falling, smallest=smallest)

    shown = [count for count, ok in zip(falling, answers, strict=True) if ok]
    assert all(count >= smallest for count in shown)
    assert not any(0 < before - after < smallest for before, after in pairwise(shown))


def test_numbers_that_fall_slowly_are_shown_from_time_to_time() -> None:
    answers = shown_steps([30, 30, 28, 21, 20, 15, 10, 9, 0], smallest=LIMIT)

    assert answers == [True, True, False, False, True, False, True, False, False]


def test_numbers_that_fall_in_large_steps_are_all_shown() -> None:
    assert shown_steps([90, 70, 60, 20], smallest=LIMIT) == [True] * 4
