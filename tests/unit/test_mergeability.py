"""The forecast before a merge, on numbers small enough to do by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lego_core.errors import MergeError
from lego_core.mergeability import Mergeability, forecast, mergeability


def compare(x: list[float], y: list[float]) -> Mergeability:
    first, second = torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    return mergeability({"weight": first}, {"weight": second})


def test_all_four_measures_of_a_pair_done_by_hand():
    # |x + y| / (|x| + |y|) is 5/5, 1/3, 4/4, 6/8; truncated x is [0, 0, 3, -7], y is [4, 2, 0, 0]
    measured = compare([1, -1, 3, -7], [4, 2, 1, 1])

    assert measured.l2_distance == pytest.approx(math.sqrt(9 + 9 + 4 + 64))
    assert measured.cosine_dissimilarity == pytest.approx(1 - (4 - 2 + 3 - 7) / math.sqrt(60 * 22))
    assert measured.sign_dissimilarity == pytest.approx(1 - (1 + 1 / 3 + 1 + 3 / 4) / 4)
    assert measured.truncated_sign_dissimilarity == pytest.approx(0)


def test_truncation_leaves_pairs_of_zeros_out_of_the_mean():
    # truncated: x is [5, 6, 0, 0], y is [-5, 6, 0, 0]: one pair cancels, one agrees, two are left out
    measured = compare([5, 6, 0.1, 0.2], [-5, 6, 0.1, 0.2])

    assert measured.sign_dissimilarity == pytest.approx(0.25)
    assert measured.truncated_sign_dissimilarity == pytest.approx(0.5)


def test_pairs_of_zeros_are_left_out_without_truncation_too():
    assert compare([0, 0, 2, 1], [0, 0, -2, 1]).sign_dissimilarity == pytest.approx(0.5)


def test_equal_blocks_are_at_no_distance():
    measured = compare([1, -2, 3], [1, -2, 3])

    assert measured.to_plain() == pytest.approx(dict.fromkeys(measured.to_plain(), 0), abs=1e-12)


def test_opposite_blocks_cancel_entirely():
    measured = compare([1, -2, 3], [-1, 2, -3])

    assert measured.cosine_dissimilarity == pytest.approx(2)
    assert measured.sign_dissimilarity == pytest.approx(1)
    assert measured.truncated_sign_dissimilarity == pytest.approx(1)


def test_blocks_of_zeros_are_the_same():
    assert set(compare([0, 0], [0, 0]).to_plain().values()) == {0}


def test_zeros_and_something_are_at_right_angles_and_do_not_cancel():
    measured = compare([0, 0], [3, 4])

    assert measured.l2_distance == 5
    assert measured.cosine_dissimilarity == 1
    assert measured.sign_dissimilarity == 0


def test_blocks_without_any_weight_are_the_same():
    assert set(compare([], []).to_plain().values()) == {0}


def test_of_an_odd_number_the_smaller_half_is_rounded_down():
    # truncated: x is [0, 2, 3], y is [0, -2, 3]: one of two pairs cancels
    assert compare([1, 2, 3], [1, -2, 3]).truncated_sign_dissimilarity == pytest.approx(0.5)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_the_measures_are_symmetric_and_within_their_ranges(seed):
    x, y = torch.randn(2, 30, generator=torch.Generator().manual_seed(seed)).round(decimals=1).tolist()

    measured = compare(x, y)

    assert measured.to_plain() == pytest.approx(compare(y, x).to_plain())
    assert 0 <= measured.cosine_dissimilarity <= 2
    assert 0 <= measured.sign_dissimilarity <= 1
    assert 0 <= measured.truncated_sign_dissimilarity <= 1


def test_tensors_of_a_block_count_as_one_vector_whatever_their_order():
    first = {"b": torch.tensor([[3.0], [4.0]]), "a": torch.tensor(1.0)}
    second = {"a": torch.tensor(1.0), "b": torch.tensor([[0.0], [0.0]])}

    assert mergeability(first, second).l2_distance == 5


def test_every_pair_of_blocks_is_forecast_once():
    blocks = {
        name: {"w": torch.full((2,), value)} for name, value in [("rna", 1.0), ("cnv", 2.0), ("mut", 4.0)]
    }

    pairs = forecast(blocks)

    assert [(pair.first, pair.second) for pair in pairs] == [("rna", "cnv"), ("rna", "mut"), ("cnv", "mut")]
    assert pairs[0].forecast == mergeability(blocks["rna"], blocks["cnv"])
    assert pairs[0].forecast.l2_distance == pytest.approx(math.sqrt(2))


def test_blocks_with_different_tensors_are_refused():
    with pytest.raises(MergeError, match=r"2 tensors are in one of the two alone, the first 'head\.bias'\."):
        mergeability({"head.bias": torch.ones(1)}, {"head.weight": torch.ones(1)})


def test_tensors_of_different_shapes_are_refused():
    with pytest.raises(MergeError, match=r"Tensor 'w' is \[2, 3\] in one block and \[3, 2\] in the other"):
        mergeability({"w": torch.ones(2, 3)}, {"w": torch.ones(3, 2)})
