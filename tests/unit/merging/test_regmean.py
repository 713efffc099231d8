"""RegMean against numpy's least squares, on the inputs themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lego_core.merging import Linear, RegMean

OUTPUTS, INPUTS = 3, 4


def layers(seed: int, *, blocks: int = 3, patients: int = 12):
    """Weights of a linear layer in several blocks, and what the layer was fed in each."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(INPUTS) + 0.3 * rng.normal(size=(blocks, INPUTS, INPUTS))  # inputs that hang together
    return rng.normal(size=(blocks, OUTPUTS, INPUTS)), rng.normal(size=(blocks, patients, INPUTS)) @ mixing


def merge(method: RegMean, weights, inputs, shares) -> np.ndarray:
    grams = torch.from_numpy(np.einsum("mni,mnj->mij", inputs, inputs) / inputs.shape[1])
    return method.combine(torch.from_numpy(weights), torch.tensor(shares), grams=grams).numpy()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_it_is_the_least_squares_fit_to_what_every_layer_answered(seed):
    weights, inputs = layers(seed)
    shares = np.array([0.2, 0.3, 0.5])
    scale = np.sqrt(shares)[:, None, None]
    asked = np.concatenate(scale * inputs)
    answered = np.concatenate(scale * np.einsum("mni,moi->mno", inputs, weights))
    expected = np.linalg.lstsq(asked, answered, rcond=None)[0].T

    merged = merge(RegMean(gamma=1.0), weights, inputs, shares)

    np.testing.assert_allclose(merged, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9])
def test_with_damped_correlations_it_is_the_published_closed_form(gamma):
    weights, inputs = layers(1)
    shares = np.array([0.2, 0.3, 0.5])
    grams = [x.T @ x / len(x) for x in inputs]
    damped = [gamma * gram + (1 - gamma) * np.diag(np.diag(gram)) for gram in grams]
    total = sum(share * gram for share, gram in zip(shares, damped, strict=True))
    pulled = sum(s * gram @ weight.T for s, gram, weight in zip(shares, damped, weights, strict=True))

    merged = merge(RegMean(gamma=gamma), weights, inputs, shares)

    np.testing.assert_allclose(merged, np.linalg.solve(total, pulled).T, rtol=1e-9)


def test_no_neighbour_answers_closer():
    weights, inputs = layers(2)
    shares = np.full(3, 1 / 3)
    merged = merge(RegMean(gamma=1.0), weights, inputs, shares)
    rng = np.random.default_rng(3)

    def apart(candidate: np.ndarray) -> float:
        return sum(np.square(x @ (candidate - w).T).sum() for x, w in zip(inputs, weights, strict=True))

    for _ in range(20):
        assert apart(merged + 1e-3 * rng.normal(size=merged.shape)) > apart(merged)


def test_where_the_inputs_of_two_blocks_never_meet_each_keeps_its_own_columns():
    weights, inputs = layers(4, blocks=2)
    inputs[0, :, 2:] = 0
    inputs[1, :, :2] = 0

    merged = merge(RegMean(gamma=1.0), weights, inputs, np.array([0.9, 0.1]))

    np.testing.assert_allclose(merged[:, :2], weights[0][:, :2], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(merged[:, 2:], weights[1][:, 2:], rtol=1e-6, atol=1e-9)


def test_a_direction_that_no_input_has_is_averaged():
    weights, inputs = layers(5)
    inputs[:, :, 1] = 0
    shares = np.array([0.2, 0.3, 0.5])

    merged = merge(RegMean(), weights, inputs, shares)

    np.testing.assert_allclose(merged[:, 1], np.tensordot(shares, weights, 1)[:, 1], rtol=1e-9)


def test_a_direction_that_all_inputs_hardly_have_is_averaged_as_well():
    weights, inputs = layers(5)
    inputs[:, :, 1] *= 1e-4
    shares = np.array([0.2, 0.3, 0.5])

    merged = merge(RegMean(gamma=0.0), weights, inputs, shares)

    np.testing.assert_allclose(merged[:, 1], np.tensordot(shares, weights, 1)[:, 1], rtol=1e-9)


@pytest.mark.parametrize("grams", [None, torch.zeros(2, INPUTS, INPUTS)])
def test_what_has_no_inputs_is_averaged(grams):
    tensors, halves = torch.randn(2, OUTPUTS, INPUTS), torch.tensor([0.5, 0.5])

    merged = RegMean().combine(tensors, halves, grams=grams)

    torch.testing.assert_close(merged, Linear().combine(tensors, halves))
