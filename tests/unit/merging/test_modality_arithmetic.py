"""Modality arithmetic against the formula of the papers."""

import numpy as np
import pytest
import torch

from lego_core.merging import Linear, ModalityArithmetic

START = torch.tensor([1.0, -2.0, 0.5])
TENSORS = torch.tensor([[2.0, -2.0, 0.0], [1.0, 1.0, 4.0], [0.0, -3.0, 0.5]])
THIRDS = torch.full((3,), 1 / 3)


@pytest.mark.parametrize("scaling", [0.3, 0.75, 1.0])
def test_of_equal_weights_it_is_the_papers_with_lambda_a_third_of_the_strength(scaling):
    start, tensors = START.numpy(), TENSORS.numpy()
    published = start + scaling * np.sum([tensor - start for tensor in tensors], axis=0)

    merged = ModalityArithmetic(strength=3 * scaling).combine(TENSORS, THIRDS, start=START)

    np.testing.assert_allclose(merged.numpy(), published, rtol=1e-6)


def test_strength_one_is_the_average_whatever_the_start():
    weights = torch.tensor([0.2, 0.3, 0.5])

    merged = ModalityArithmetic().combine(TENSORS, weights, start=START)

    torch.testing.assert_close(merged, Linear().combine(TENSORS, weights))


def test_strength_zero_is_the_start():
    merged = ModalityArithmetic(strength=0).combine(TENSORS, THIRDS, start=START)

    assert torch.equal(merged, START)
