"""A block update is a vector with a weight, and adds like one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lego_core.errors import RunError, ShapeError
from lego_core.update import BlockUpdate, to_named, to_vector

law = settings(deadline=None, max_examples=50)
whole_numbers = st.lists(st.integers(-(2**40), 2**40), min_size=4, max_size=4)


@st.composite
def updates(draw: st.DrawFn) -> BlockUpdate:
    return BlockUpdate(
        torch.tensor(draw(whole_numbers), dtype=torch.float64), float(draw(st.integers(0, 10**6)))
    )


def same(first: BlockUpdate, second: BlockUpdate) -> bool:
    return torch.equal(first.total, second.total) and first.weight == second.weight


@law
@given(first=updates(), second=updates())
def test_adding_adds_totals_and_weights_and_commutes(first, second):
    together = first + second

    assert torch.equal(together.total, first.total + second.total)
    assert together.weight == first.weight + second.weight
    assert same(together, second + first)


@law
@given(first=updates(), second=updates(), third=updates())
def test_adding_does_not_depend_on_brackets(first, second, third):
    assert same((first + second) + third, first + (second + third))


@law
@given(update=updates())
def test_zero_changes_nothing(update):
    assert same(update + BlockUpdate.zero(4), update)


def test_the_mean_of_a_sum_is_the_weighted_mean_of_the_means():
    first = BlockUpdate.between(torch.zeros(2), torch.tensor([1.0, 2.0]), weight=3.0)
    second = BlockUpdate.between(torch.zeros(2), torch.tensor([5.0, -2.0]), weight=1.0)

    assert (first + second).mean().tolist() == [2.0, 1.0]


def test_an_update_is_the_way_from_the_global_to_the_new_weights():
    update = BlockUpdate.between(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 1.0]), weight=40.0)

    assert update.total.tolist() == [20.0, -40.0]
    assert update.weight == 40
    assert update.mean().tolist() == [0.5, -1.0]


def test_sums_over_many_sites_keep_what_float32_would_lose():
    large, small = BlockUpdate(torch.tensor([1e8]), 1.0), BlockUpdate(torch.tensor([1.0]), 1.0)

    assert (large + small).total.item() == 1e8 + 1


def test_adding_changes_neither_part():
    first, second = BlockUpdate(torch.ones(2), 1.0), BlockUpdate(torch.ones(2), 1.0)

    (first + second).total.add_(1)

    assert first.total.tolist() == second.total.tolist() == [1, 1]


@pytest.mark.parametrize("size", [1, 3])
def test_updates_of_different_blocks_do_not_add(size):
    with pytest.raises(ShapeError, match=rf"Updates of 2 and of {size} parameters do not belong to the same"):
        BlockUpdate.zero(2) + BlockUpdate.zero(size)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf")])
def test_an_update_nobody_stands_behind_has_no_mean(weight):
    with pytest.raises(RunError, match=r"weight .* has no mean: no patient stands behind it\. Leave sites"):
        BlockUpdate(torch.ones(2), weight).mean()


def weights_of_a_block() -> dict[str, Tensor]:
    return {
        "head.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "attention.scale": torch.tensor(5.0, dtype=torch.float64),
        "counter": torch.tensor([7]),
        "empty": torch.zeros(0, 3),
        "bias": torch.tensor([6.0], dtype=torch.float16),
    }


def test_a_vector_holds_floating_tensors_sorted_by_name_as_float32():
    vector = to_vector(weights_of_a_block())

    assert vector.tolist() == [5, 6, 1, 2, 3, 4]
    assert vector.dtype == torch.float32


def test_the_order_of_names_does_not_change_the_vector():
    named = weights_of_a_block()

    assert torch.equal(to_vector(dict(reversed(named.items()))), to_vector(named))


def test_a_vector_does_not_remember_gradients():
    assert not to_vector({"weight": torch.ones(2, requires_grad=True)}).requires_grad


def test_names_shapes_and_dtypes_come_back():
    named = weights_of_a_block()

    back = to_named(to_vector(named), named)

    assert list(back) == list(named)
    for name, tensor in named.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_named_tensors_share_no_memory_with_the_vector_or_the_template():
    named = weights_of_a_block()
    vector = to_vector(named)

    for tensor in to_named(vector, named).values():
        tensor.add_(1)

    assert vector.tolist() == [5, 6, 1, 2, 3, 4]
    assert named["counter"].item() == 7


def test_the_vector_of_nothing_is_empty():
    assert to_named(to_vector({}), {}) == {}


@pytest.mark.parametrize("size", [0, 5, 7])
def test_a_vector_of_another_size_is_refused(size):
    with pytest.raises(
        ShapeError, match=rf"vector of {size} numbers does not fill tensors of 6 numbers\. Use"
    ):
        to_named(torch.zeros(size), weights_of_a_block())
