"""TIES against the authors' algorithm, written down with numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lego_core.merging import Linear, Ties


def published(start, tensors, *, density: float, scaling: float) -> np.ndarray:
    """Algorithm 1 of the paper: one vector per task, all of one weight."""
    changes = tensors - start
    kept = int(np.ceil(density * changes.shape[1]))
    for change in changes:
        change[np.argsort(np.abs(change))[: len(change) - kept]] = 0
    elected = np.sign(changes.sum(axis=0))
    merged = np.zeros_like(start)
    for place, sign in enumerate(elected):
        agreeing = [change[place] for change in changes if np.sign(change[place]) == sign != 0]
        merged[place] = np.mean(agreeing) if agreeing else 0
    return start + scaling * merged


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    blocks=st.integers(2, 5),
    density=st.sampled_from([0.05, 0.2, 0.5, 1.0]),
    strength=st.sampled_from([0.4, 1.0]),
)
def test_of_equal_weights_it_is_the_published_algorithm(seed, blocks, density, strength):
    rng = np.random.default_rng(seed)
    start, tensors = rng.normal(size=17), rng.normal(size=(blocks, 17))
    expected = published(start, tensors, density=density, scaling=strength)

    merged = Ties(density=density, strength=strength).combine(
        torch.from_numpy(tensors),
        torch.full((blocks,), 1 / blocks, dtype=torch.float64),
        start=torch.from_numpy(start),
    )

    np.testing.assert_allclose(merged.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_heavier_sign_wins_and_only_its_blocks_are_averaged():
    changes = torch.tensor([[2.0], [4.0], [-5.0]])

    merged = Ties(density=1.0).combine(
        10 + changes, torch.tensor([0.6, 0.2, 0.2]), start=torch.tensor([10.0])
    )

    assert merged.item() == pytest.approx(10 + (0.6 * 2 + 0.2 * 4) / 0.8)


def test_weights_decide_which_sign_is_the_heavier():
    changes = torch.tensor([[2.0], [-3.0]])

    merged = Ties(density=1.0).combine(changes, torch.tensor([0.8, 0.2]), start=torch.zeros(1))

    assert merged.item() == pytest.approx(2)


def test_changes_that_cancel_leave_the_start_whatever_the_order():
    changes = torch.tensor([[0.1], [0.2], [-0.3]], dtype=torch.float64)
    start, thirds = torch.zeros(1, dtype=torch.float64), torch.full((3,), 1 / 3, dtype=torch.float64)

    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        assert Ties(density=1.0).combine(changes[order], thirds, start=start).item() == 0


def test_changes_of_one_size_are_all_kept():
    start, halves = torch.zeros(4), torch.tensor([0.5, 0.5])
    tensors = torch.tensor([[1.0, -1.0, 1.0, 0.1], [1.0, -1.0, 1.0, 0.1]])

    assert Ties(density=0.25).combine(tensors, halves, start=start).tolist() == [1, -1, 1, 0]


def test_where_all_agree_and_nothing_is_trimmed_it_is_the_average():
    tensors, halves = torch.rand(2, 3, 4), torch.tensor([0.25, 0.75])

    merged = Ties(density=1.0).combine(tensors, halves, start=torch.zeros(3, 4) - 1)

    torch.testing.assert_close(merged, Linear().combine(tensors, halves))
