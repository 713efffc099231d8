"""Mean against hand-computed values."""

import torch

from lego_core.merging import Mean


def test_it_is_the_weighted_sum_of_complex_numbers():
    latents = torch.tensor([1 + 2j, 3 - 2j]).reshape(2, 1, 1, 1)

    merged = Mean().combine(latents, torch.tensor([[0.25], [0.75]]))

    assert merged.item() == 2.5 - 1j


def test_it_is_linear_in_the_latents():
    latents = torch.randn(2, 3, 2, 4, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    weights = torch.full((3, 2), 1 / 3, dtype=torch.float64)
    turn = 0.6 + 0.8j

    merged = Mean().combine(latents[0] + turn * latents[1], weights)

    expected = Mean().combine(latents[0], weights) + turn * Mean().combine(latents[1], weights)
    torch.testing.assert_close(merged, expected)


def test_weights_of_another_dtype_do_not_change_the_dtype_of_the_latent():
    merged = Mean().combine(
        torch.ones(2, 1, 1, 1, dtype=torch.complex64), torch.full((2, 1), 0.5, dtype=torch.float64)
    )

    assert merged.dtype == torch.complex64
