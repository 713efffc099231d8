"""Linear against hand-computed values."""

import torch

from lego_core.merging import Linear


def test_it_is_the_weighted_mean():
    merged = Linear().combine(torch.tensor([[0.0, 4.0], [8.0, 0.0]]), torch.tensor([0.75, 0.25]))

    assert merged.tolist() == [2, 3]


def test_three_equal_weights_lose_nothing_to_rounding():
    tensor = torch.rand(1000, generator=torch.Generator().manual_seed(1))

    merged = Linear().combine(tensor.expand(3, 1000), torch.full((3,), 1 / 3))

    assert torch.equal(merged, tensor)


def test_half_precision_is_averaged_in_double():
    merged = Linear().combine(torch.full((2,), 60000.0, dtype=torch.float16), torch.tensor([0.5, 0.5]))

    assert merged.item() == 60000
