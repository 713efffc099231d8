"""Every merge method keeps what `merging/_contract.py` promises."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from lego_core.errors import MergeError
from lego_core.merging import Dare, HarmonicMean, LatentMerge, ModalityArithmetic, Ties, WeightMerge


def members(union: object) -> tuple[type, ...]:
    return get_args(get_args(union)[0])


LATENT_MERGES = [kind() for kind in members(LatentMerge)] + [HarmonicMean(phase="published")]
WEIGHT_MERGES = [kind() for kind in members(WeightMerge)] + [
    ModalityArithmetic(strength=1.5),
    Ties(density=0.6, strength=0.5),
    Dare(drop_rate=0.0),
]
SHAPES = [(), (1,), (5,), (3, 4), (2, 3, 4), (0,), (3, 0)]

every_latent_merge = pytest.mark.parametrize("method", LATENT_MERGES, ids=repr)
every_weight_merge = pytest.mark.parametrize("method", WEIGHT_MERGES, ids=repr)


def random_latents(seed: int, *, blocks: int = 3, patients: int = 4) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(blocks, patients, 5, 6, dtype=torch.complex128, generator=rng)


def random_weights(seed: int, *size: int) -> Tensor:
    weights = torch.rand(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.1
    return weights / weights.sum(dim=0)


def combine(
    method, tensors: Tensor, weights: Tensor, *, start: Tensor | None = None, order=slice(None)
) -> Tensor:
    """Merge with all that any method may ask for; `order` says which blocks these are."""
    shape = tensors.shape[1:]
    rng = torch.Generator().manual_seed(7)
    if start is None:
        start = torch.randn(shape, dtype=torch.float64, generator=rng).to(tensors.dtype)
    grams = None
    if len(shape) == 2:
        inputs = torch.randn(9, 6, shape[1], dtype=torch.float64, generator=rng)
        grams = (
            (inputs.mT @ inputs)[: len(tensors)] if isinstance(order, slice) else (inputs.mT @ inputs)[order]
        )
    return method.combine(tensors, weights, start=start, grams=grams)


@every_latent_merge
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), blocks=st.integers(1, 5))
def test_every_latent_merge_ignores_the_order_of_blocks(method, seed, blocks):
    latents, weights = random_latents(seed, blocks=blocks), random_weights(seed, blocks, 4)
    order = torch.randperm(blocks, generator=torch.Generator().manual_seed(seed))

    merged = method.combine(latents, weights)

    torch.testing.assert_close(method.combine(latents[order], weights[order]), merged, rtol=1e-6, atol=1e-9)


@every_latent_merge
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), blocks=st.integers(1, 5))
def test_every_latent_merge_gives_equal_latents_back(method, seed, blocks):
    latent = random_latents(seed, blocks=1)

    merged = method.combine(latent.expand(blocks, -1, -1, -1), random_weights(seed, blocks, 4))

    torch.testing.assert_close(merged, latent[0])


@every_latent_merge
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_every_latent_merge_gives_the_one_present_block_exactly(method, dtype, blocks):
    latents = random_latents(1, blocks=blocks).to(dtype)
    latents[-1, 0, 0, 0] = 0
    weights = torch.zeros(blocks, 4)
    weights[-1] = 1

    merged = method.combine(latents, weights)

    assert merged.dtype == dtype
    assert torch.equal(merged, latents[-1])


@every_latent_merge
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 0.0, 1e30])
def test_every_latent_merge_is_untouched_by_what_stands_in_for_an_absent_block(method, garbage):
    latents, weights = random_latents(2, blocks=3), random_weights(2, 2, 4)
    latents[1] = complex(garbage, garbage)
    latents.requires_grad_()

    merged = method.combine(latents, torch.stack([weights[0], torch.zeros(4), weights[1]]))
    merged.abs().sum().backward()

    torch.testing.assert_close(merged, method.combine(latents[[0, 2]], weights))
    assert latents.grad is not None
    assert torch.equal(latents.grad[1], torch.zeros_like(latents[1]))
    assert latents.grad.isfinite().all()


@every_latent_merge
def test_every_latent_merge_takes_each_patient_for_itself(method):
    latents, weights = random_latents(3), random_weights(3, 3, 4)
    weights[:, 1] = torch.tensor([0.0, 1.0, 0.0])
    weights[:, 2] = torch.tensor([0.5, 0.0, 0.5])

    together = method.combine(latents, weights)

    for patient in range(4):
        alone = method.combine(latents[:, [patient]], weights[:, [patient]])
        torch.testing.assert_close(together[[patient]], alone)


@every_latent_merge
@pytest.mark.parametrize("factor", [1e-12, 0.5, 3.0, 1e12])
def test_every_latent_merge_scales_with_its_latents(method, factor):
    latents, weights = random_latents(4), random_weights(4, 3, 4)

    scaled = method.combine(factor * latents, weights)

    torch.testing.assert_close(scaled, factor * method.combine(latents, weights), rtol=1e-9, atol=0)


@every_latent_merge
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize(
    "values", [(0, 0), (0, 1 + 1j), (1, -1), (1e-38, 1), (1e-42j, 1e-42), (1e-25, 1e25), (1e37, 1e37j)]
)
def test_every_latent_merge_has_finite_values_and_gradients_at_the_edges(method, values, dtype):
    latents = torch.tensor(values, dtype=dtype).reshape(2, 1, 1, 1).requires_grad_()
    weights = torch.full((2, 1), 0.5, dtype=torch.float64, requires_grad=True)

    merged = method.combine(latents, weights)
    (merged.real + merged.imag).sum().backward()

    assert merged.isfinite().all()
    assert latents.grad is not None
    assert latents.grad.isfinite().all()


@every_latent_merge
def test_every_latent_merge_has_the_gradient_of_its_formula(method):
    latents = random_latents(5, patients=2).requires_grad_()
    weights = random_weights(5, 3, 2)

    assert torch.autograd.gradcheck(lambda given: method.combine(given, weights), (latents,))


@every_latent_merge
def test_every_latent_merge_leaves_its_arguments_alone(method):
    latents, weights = random_latents(6), random_weights(6, 3, 4)
    before = latents.clone(), weights.clone()

    method.combine(latents, weights)

    assert torch.equal(latents, before[0])
    assert torch.equal(weights, before[1])


@every_weight_merge
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_weight_merge_is_exact_at_its_end_points(method, shape, dtype):
    tensors = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)

    for block in range(3):
        merged = combine(method, tensors, torch.eye(3)[block])

        assert merged.dtype == dtype
        assert torch.equal(merged, tensors[block])


@every_weight_merge
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), blocks=st.integers(1, 5), shape=st.sampled_from(SHAPES))
def test_every_weight_merge_ignores_the_order_of_blocks(method, seed, blocks, shape):
    rng = torch.Generator().manual_seed(seed)
    tensors = torch.randn(blocks, *shape, dtype=torch.float64, generator=rng)
    weights, order = random_weights(seed, blocks), torch.randperm(blocks, generator=rng)

    merged = combine(method, tensors, weights)

    assert merged.shape == shape
    again = combine(method, tensors[order], weights[order], order=order)
    torch.testing.assert_close(again, merged, rtol=1e-8, atol=1e-9)


@every_weight_merge
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("blocks", [1, 2, 3, 7])
def test_every_weight_merge_leaves_equal_tensors_as_they_are(method, shape, blocks):
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    start = tensor if method.needs_start else None

    merged = combine(method, tensor.expand(blocks, *shape), random_weights(2, blocks).float(), start=start)

    torch.testing.assert_close(merged, tensor, rtol=3e-7, atol=0)


@every_weight_merge
def test_every_weight_merge_is_untouched_by_a_block_of_weight_zero(method):
    tensors = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(3))
    expected = combine(method, tensors[[0, 2]], torch.tensor([0.3, 0.7]), order=torch.tensor([0, 2]))
    tensors[1] = torch.nan

    merged = combine(method, tensors, torch.tensor([0.3, 0.0, 0.7]))

    torch.testing.assert_close(merged, expected)


@every_weight_merge
def test_every_weight_merge_leaves_its_arguments_alone(method):
    tensors = torch.randn(2, 4, generator=torch.Generator().manual_seed(4))
    weights = torch.tensor([0.25, 0.75])
    before = tensors.clone()

    combine(method, tensors, weights).add_(1)
    combine(method, tensors, torch.tensor([1.0, 0.0])).add_(1)

    assert torch.equal(tensors, before)
    assert weights.tolist() == [0.25, 0.75]


@every_weight_merge
def test_every_weight_merge_gives_constants(method):
    tensors = torch.ones(2, 3, requires_grad=True)

    assert not combine(method, tensors, torch.tensor([0.5, 0.5])).requires_grad


@every_weight_merge
@pytest.mark.parametrize(
    "weights", [[0.5, 0.6], [1.5, -0.5], [0.0, 0.0], [float("nan"), 1.0], [float("inf"), 0.0]]
)
def test_every_weight_merge_refuses_weights_that_are_no_shares(method, weights):
    with pytest.raises(MergeError, match=r"zero or more and sum to 1, and these are \[.*\]\. Divide each"):
        combine(method, torch.ones(2, 3), torch.tensor(weights))


@every_weight_merge
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_every_weight_merge_refuses_tensors_that_are_not_finite(method, broken):
    tensors = torch.ones(3, 2)
    tensors[1, 0] = broken

    with pytest.raises(
        MergeError, match=r"1 of 3 blocks hold numbers that are not finite.*Train these blocks"
    ):
        combine(method, tensors, torch.tensor([0.2, 0.3, 0.5]))


@every_weight_merge
def test_every_weight_merge_says_what_it_needs(method):
    tensors, halves = torch.ones(2, 3), torch.tensor([0.5, 0.5])

    if not method.needs_start:
        assert torch.equal(method.combine(tensors, halves), torch.ones(3))
        return
    for weights in (halves, torch.tensor([1.0, 0.0])):
        with pytest.raises(MergeError, match=f"'{method.kind}' works on changes .* no start was given"):
            method.combine(tensors, weights)


@every_weight_merge
@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_every_weight_merge_refuses_gram_matrices_of_another_layer(method, shape):
    tensors = torch.ones(2, *shape)

    with pytest.raises(
        MergeError, match=r"Gram matrices of 4 inputs do not belong to a tensor of shape \(4,"
    ):
        method.combine(
            tensors, torch.tensor([0.5, 0.5]), start=tensors[0], grams=torch.eye(4).expand(2, 4, 4)
        )


@every_weight_merge
def test_every_weight_merge_refuses_a_start_that_is_not_finite(method):
    start = torch.tensor([1.0, torch.nan, 2.0])

    with pytest.raises(MergeError, match="The common start holds numbers that are not finite"):
        method.combine(torch.ones(2, 3), torch.tensor([0.5, 0.5]), start=start)


@pytest.mark.parametrize(
    ("union", "kinds"),
    [
        (LatentMerge, ["harmonic-mean", "mean"]),
        (WeightMerge, ["slerp", "linear", "modality-arithmetic", "regmean", "ties", "dare"]),
    ],
)
def test_a_plan_names_every_method_by_its_kind_and_learns_the_kinds_from_the_error(union, kinds):
    adapter = TypeAdapter(union)

    assert [adapter.validate_python({"kind": kind}).kind for kind in kinds] == kinds
    with pytest.raises(ValidationError, match=", ".join(f"'{kind}'" for kind in kinds)):
        adapter.validate_python({"kind": "slrp"})
