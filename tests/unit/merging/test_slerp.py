"""Slerp against hand-computed values and the classic formula for two."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lego_core.merging import Linear, Slerp


def merge(*rows: list[float], weights: list[float]) -> Tensor:
    return Slerp().combine(
        torch.tensor(rows, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64)
    )


def expect(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def classic(first: Tensor, second: Tensor, at: float) -> Tensor:
    """Shoemake's formula on unit vectors, the length interpolated beside it."""
    angle = torch.arccos(first @ second / (first.norm() * second.norm()))
    direction = (
        torch.sin((1 - at) * angle) * first / first.norm() + torch.sin(at * angle) * second / second.norm()
    ) / torch.sin(angle)
    return direction * ((1 - at) * first.norm() + at * second.norm())


def test_half_way_between_the_axes_is_the_diagonal_on_the_circle():
    merged = merge([1, 0], [0, 1], weights=[0.5, 0.5])

    torch.testing.assert_close(merged, expect([math.sqrt(0.5), math.sqrt(0.5)]))


def test_a_third_of_the_way_is_thirty_degrees():
    merged = merge([1, 0], [0, 1], weights=[2 / 3, 1 / 3])

    torch.testing.assert_close(merged, expect([math.cos(math.pi / 6), math.sin(math.pi / 6)]))


def test_lengths_are_averaged_apart_from_directions():
    merged = merge([2, 0], [0, 6], weights=[0.5, 0.5])

    torch.testing.assert_close(merged, expect([4 * math.sqrt(0.5), 4 * math.sqrt(0.5)]))


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    at=st.floats(0.001, 0.999),
    size=st.integers(2, 40),
    scale=st.floats(0.01, 100),
)
def test_two_blocks_follow_the_classic_formula(seed, at, size, scale):
    first, second = torch.randn(2, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    second = second * scale

    merged = Slerp().combine(torch.stack([first, second]), expect([1 - at, at]))

    torch.testing.assert_close(merged, classic(first, second, at), rtol=1e-7, atol=1e-7 * scale)


@pytest.mark.parametrize("angle", [1e-9, 1e-6, 1e-3, 0.5, 1.5, 2.5, 3.1, math.pi - 0.01])
@pytest.mark.parametrize("at", [0.01, 0.3, 0.5, 0.9])
def test_the_angle_is_divided_as_asked_from_nearly_parallel_to_nearly_opposite(angle, at):
    merged = merge([1, 0, 0], [math.cos(angle), math.sin(angle), 0], weights=[1 - at, at])

    torch.testing.assert_close(
        merged, expect([math.cos(at * angle), math.sin(at * angle), 0]), rtol=0, atol=1e-10
    )


def test_three_axes_meet_in_the_middle():
    merged = merge([1, 0, 0], [0, 1, 0], [0, 0, 1], weights=[1 / 3, 1 / 3, 1 / 3])

    torch.testing.assert_close(merged, expect([math.sqrt(1 / 3)] * 3))


def test_three_on_one_great_circle_average_their_angles():
    angles, weights = [0.2, 0.9, 1.5], [0.5, 0.2, 0.3]
    middle = sum(weight * angle for weight, angle in zip(weights, angles, strict=True))

    merged = merge(*[[math.cos(angle), math.sin(angle), 0] for angle in angles], weights=weights)

    torch.testing.assert_close(merged, expect([math.cos(middle), math.sin(middle), 0]), rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), blocks=st.integers(3, 8))
def test_the_arcs_from_the_mean_of_many_cancel(seed, blocks):
    rng = torch.Generator().manual_seed(seed)
    tensors = torch.randn(blocks, 50, dtype=torch.float64, generator=rng) + 0.5
    weights = torch.rand(blocks, dtype=torch.float64, generator=rng) + 0.1
    weights = weights / weights.sum()

    merged = Slerp().combine(tensors, weights)

    mean = merged / merged.norm()
    directions = tensors / tensors.norm(dim=1, keepdim=True)
    cosines = directions @ mean
    arcs = (cosines.arccos() / (1 - cosines**2).sqrt())[:, None] * (directions - cosines[:, None] * mean)
    assert float((weights @ arcs).norm()) < 1e-9
    torch.testing.assert_close(merged.norm(), weights @ tensors.norm(dim=1))


def test_two_equal_blocks_and_a_third_count_as_two_with_the_weights_added():
    merged = merge([1, 0], [1, 0], [0, 1], weights=[0.2, 0.3, 0.5])

    torch.testing.assert_close(merged, merge([1, 0], [0, 1], weights=[0.5, 0.5]))


def test_fresh_norm_layers_merge_to_ones_and_not_to_nan():
    assert torch.equal(Slerp().combine(torch.ones(2, 8), torch.tensor([0.5, 0.5])), torch.ones(8))


def test_fresh_biases_of_zero_stay_zero():
    assert torch.equal(Slerp().combine(torch.zeros(3, 8), torch.full((3,), 1 / 3)), torch.zeros(8))


def test_a_zero_tensor_and_another_are_merged_linearly():
    torch.testing.assert_close(merge([0, 0], [2, 4], weights=[0.5, 0.5]), expect([1, 2]))


def test_parallel_tensors_are_merged_linearly():
    torch.testing.assert_close(merge([1, 2], [3, 6], weights=[0.25, 0.75]), expect([2.5, 5]))


@pytest.mark.parametrize("at", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("angle", [math.pi, math.pi - 1e-4, math.pi + 1e-5])
def test_opposite_tensors_are_merged_linearly(at, angle):
    tensors = torch.tensor([[1, 0], [3 * math.cos(angle), 3 * math.sin(angle)]], dtype=torch.float64)
    weights = expect([1 - at, at])

    torch.testing.assert_close(Slerp().combine(tensors, weights), Linear().combine(tensors, weights))


def test_opposite_blocks_beside_a_third_go_its_way():
    merged = merge([1, 0], [-1, 0], [0, 1], weights=[1 / 3, 1 / 3, 1 / 3])

    torch.testing.assert_close(merged, expect([0, 1]))


def test_directions_that_cancel_are_merged_linearly():
    corners = [[math.cos(angle), math.sin(angle)] for angle in (0, 2 * math.pi / 3, 4 * math.pi / 3)]

    torch.testing.assert_close(merge(*corners, weights=[1 / 3] * 3), expect([0, 0]), rtol=0, atol=1e-12)


def test_numbers_of_opposite_sign_are_merged_linearly():
    assert Slerp().combine(torch.tensor([1.0, -3.0]), torch.tensor([0.5, 0.5])).item() == -1


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), blocks=st.integers(2, 6), size=st.integers(1, 4))
def test_a_merge_ends_with_finite_numbers_however_wide_the_directions_spread(seed, blocks, size):
    tensors = torch.randn(blocks, size, generator=torch.Generator().manual_seed(seed))

    merged = Slerp().combine(tensors, torch.full((blocks,), 1 / blocks))

    assert merged.isfinite().all()
    assert merged.norm() <= tensors.norm(dim=1).max() * (1 + 1e-5)
