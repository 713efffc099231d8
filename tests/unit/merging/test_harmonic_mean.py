"""HarmonicMean against hand-computed values and an independent computation in numpy."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lego_core.merging import HarmonicMean


def one_element(*values: complex) -> Tensor:
    return torch.tensor(values, dtype=torch.complex128).reshape(-1, 1, 1, 1)


def merge(method: HarmonicMean, *values: complex, weights: list[float] | None = None) -> complex:
    shares = weights or [1 / len(values)] * len(values)
    column = torch.tensor(shares, dtype=torch.float64)[:, None]
    return method.combine(one_element(*values), column).item()


def by_numpy(latents: np.ndarray, weights: np.ndarray, *, phase: str) -> np.ndarray:
    """The formulas of the paper with sines, cosines and angles, element by element."""
    merged = np.zeros(latents.shape[1:], dtype=complex)
    for place in np.ndindex(*merged.shape):
        present = [m for m in range(len(latents)) if weights[m, place[0]] > 0]
        share = np.array([weights[m, place[0]] for m in present])
        value = np.array([latents[(m, *place)] for m in present])
        magnitude = 1 / np.sum(share / np.abs(value))
        angle = np.arctan2(value.imag, value.real)
        if phase == "circular":
            mean_angle = np.arctan2(np.sum(share * np.sin(angle)), np.sum(share * np.cos(angle)))
        else:
            mean_angle = np.sum(share * angle)
        merged[place] = magnitude * np.exp(1j * mean_angle)
    return merged


@pytest.mark.parametrize("phase", ["circular", "published"])
@pytest.mark.parametrize("blocks", [2, 3, 6])
def test_it_agrees_with_the_formulas_written_with_angles(phase, blocks):
    rng = np.random.default_rng(blocks)
    latents = rng.normal(size=(blocks, 5, 4, 3)) + 1j * rng.normal(size=(blocks, 5, 4, 3))
    weights = rng.uniform(0.1, 1, size=(blocks, 5))
    weights[0, 2] = weights[1, 3] = 0
    weights /= weights.sum(axis=0)

    merged = HarmonicMean(phase=phase).combine(torch.tensor(latents), torch.tensor(weights))

    np.testing.assert_allclose(merged.numpy(), by_numpy(latents, weights, phase=phase), rtol=1e-9)


@pytest.mark.parametrize("phase", ["circular", "published"])
def test_magnitudes_1_and_3_merge_to_three_halves(phase):
    assert merge(HarmonicMean(phase=phase), 1, 3) == pytest.approx(1.5)


@pytest.mark.parametrize("phase", ["circular", "published"])
def test_magnitudes_1_2_and_4_merge_to_twelve_sevenths(phase):
    assert merge(HarmonicMean(phase=phase), 1j, 2j, 4j) == pytest.approx(12j / 7)


@pytest.mark.parametrize("phase", ["circular", "published"])
def test_weights_count_in_the_magnitude(phase):
    assert merge(HarmonicMean(phase=phase), 1, 3, weights=[0.25, 0.75]) == pytest.approx(2)


@pytest.mark.parametrize("phase", ["circular", "published"])
def test_a_right_angle_is_halved(phase):
    assert merge(HarmonicMean(phase=phase), 1, 1j) == pytest.approx((1 + 1j) / math.sqrt(2))


@pytest.mark.parametrize("phase", ["circular", "published"])
def test_a_present_zero_makes_the_element_zero(phase):
    assert merge(HarmonicMean(phase=phase), 0, 5 + 5j, 2) == 0


def test_angles_on_either_side_of_the_cut_meet_at_the_cut_only_in_circular_phase():
    above, below = complex(-1, 0.1), complex(-1, -0.1)

    assert merge(HarmonicMean(phase="circular"), above, below).real == pytest.approx(-abs(above))
    assert merge(HarmonicMean(phase="published"), above, below).real == pytest.approx(abs(above))


def test_circular_phase_does_not_depend_on_magnitudes():
    assert merge(HarmonicMean(), 1000, 1j) == pytest.approx((1 + 1j) / math.sqrt(2) * 2000 / 1001)


def test_opposite_signs_of_equal_weight_have_no_direction_and_give_zero():
    assert merge(HarmonicMean(phase="circular"), 2, -3) == 0


def test_opposite_signs_give_the_real_part_zero_as_published():
    assert merge(HarmonicMean(phase="published"), 2, -2).real == pytest.approx(0, abs=1e-12)


def test_opposite_signs_follow_the_heavier_block():
    assert merge(HarmonicMean(), 2, -2, weights=[0.4, 0.6]) == pytest.approx(-2)


@pytest.mark.parametrize("corners", [3, 4, 5, 12])
def test_phases_spread_evenly_round_the_circle_give_zero_in_spite_of_rounding(corners):
    phasors = [complex(math.cos(a), math.sin(a)) for a in np.arange(corners) * 2 * math.pi / corners + 0.3]
    weights = torch.full((corners, 1), 1 / corners)

    merged = HarmonicMean().combine(one_element(*phasors).to(torch.complex64), weights)

    assert merged.item() == 0


def test_circular_phase_turns_with_the_latents():
    latents = torch.randn(3, 2, 4, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    weights = torch.full((3, 2), 1 / 3, dtype=torch.float64)
    turn = complex(math.cos(2.5), math.sin(2.5))

    turned = HarmonicMean().combine(turn * latents, weights)

    torch.testing.assert_close(turned, turn * HarmonicMean().combine(latents, weights))


def test_the_magnitude_lies_between_the_smallest_and_the_largest():
    latents = torch.randn(4, 3, 5, 5, dtype=torch.complex128, generator=torch.Generator().manual_seed(2))

    merged = HarmonicMean().combine(latents, torch.full((4, 3), 0.25)).abs()

    assert (merged >= latents.abs().amin(dim=0) * (1 - 1e-9)).all()
    assert (merged <= latents.abs().amax(dim=0) * (1 + 1e-9)).all()


def test_the_gradient_is_zero_where_a_block_is_zero_or_phases_cancel():
    latents = torch.tensor([[0, 2], [1, -2]], dtype=torch.complex128).reshape(2, 1, 1, 2).requires_grad_()

    HarmonicMean().combine(latents, torch.full((2, 1), 0.5)).real.sum().backward()

    assert latents.grad is not None
    assert torch.equal(latents.grad, torch.zeros_like(latents))
