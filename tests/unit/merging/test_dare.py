"""DARE: what is dropped, what is enlarged, and that both can be repeated."""

import pytest
import torch

from lego_core.merging import Dare, Linear

HALVES = torch.tensor([0.5, 0.5])


def two_blocks(size: int = 4000):
    rng = torch.Generator().manual_seed(1)
    start = torch.randn(size, dtype=torch.float64, generator=rng)
    return start, start + torch.randn(2, size, dtype=torch.float64, generator=rng)


@pytest.mark.parametrize("drop_rate", [0.2, 0.5, 0.9])
def test_a_change_is_gone_or_enlarged(drop_rate):
    start, (moved, _) = two_blocks()

    merged = Dare(drop_rate=drop_rate).combine(torch.stack([moved, start]), HALVES, start=start)

    kept = merged != start
    torch.testing.assert_close(merged[kept], (start + 0.5 * (moved - start) / (1 - drop_rate))[kept])
    deviations = abs(float(kept.sum()) - 4000 * (1 - drop_rate)) / (4000 * drop_rate * (1 - drop_rate)) ** 0.5
    assert deviations < 4


def test_two_blocks_lose_different_values():
    start, tensors = two_blocks()

    first, second = (
        Dare().combine(torch.stack([tensor, start]), HALVES, start=start) != start for tensor in tensors
    )

    assert 0.2 < float((first & second).double().mean()) < 0.3


def test_over_many_seeds_it_is_the_average():
    start, tensors = two_blocks(50)

    merged = torch.stack([Dare(seed=seed).combine(tensors, HALVES, start=start) for seed in range(2000)])

    torch.testing.assert_close(merged.mean(dim=0), Linear().combine(tensors, HALVES), rtol=0, atol=0.15)


def test_one_seed_gives_one_merge_and_another_another():
    start, tensors = two_blocks()
    once = Dare(seed=1).combine(tensors, HALVES, start=start)
    torch.rand(3)  # nobody else's chance takes part

    assert torch.equal(Dare(seed=1).combine(tensors, HALVES, start=start), once)
    assert torch.equal(Dare(seed=1).combine(tensors.flip(0), HALVES, start=start), once)
    assert not torch.equal(Dare(seed=2).combine(tensors, HALVES, start=start), once)


def test_without_dropping_it_is_the_average():
    start, tensors = two_blocks()

    merged = Dare(drop_rate=0.0).combine(tensors, HALVES, start=start)

    torch.testing.assert_close(merged, Linear().combine(tensors, HALVES))
