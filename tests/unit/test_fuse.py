"""Several blocks, one model, some training."""

import copy

import pytest
import torch
from blocks import CONTRACT, assert_close, only_row, tiny_block, tiny_cohort

from lego_core import LegoFuse, LegoMerge
from lego_core.fuse import FuseOrder

ORDERS: tuple[FuseOrder, ...] = ("stack", "weave")


@pytest.mark.parametrize("order", ORDERS)
def test_a_patient_with_one_modality_passes_through_that_block_alone(order: FuseOrder) -> None:
    blocks = {name: tiny_block(name) for name in "ab"}
    batch = tiny_cohort(["a", "b"]).batch()
    fused = LegoFuse(blocks.values(), order=order)

    logits = fused(batch)

    for row, name in enumerate("ab"):
        latent_freq = blocks[name].latent(only_row(batch, row).inputs[name])
        assert_close(logits[row : row + 1], fused.head(latent_freq))


@pytest.mark.parametrize("order", ORDERS)
def test_a_fused_model_of_one_block_is_that_block(order: FuseOrder) -> None:
    block = tiny_block("a")
    batch = tiny_cohort(["a", "a"]).batch()

    assert_close(LegoFuse([block], order=order)(batch), block(batch.inputs["a"]))


def test_stack_and_weave_are_the_same_at_depth_1_and_differ_beyond() -> None:
    batch = tiny_cohort(["ab", "ab"]).batch()
    shallow = CONTRACT.model_copy(update={"depth": 1})

    def logits(order: FuseOrder, contract) -> torch.Tensor:
        return LegoFuse([tiny_block(n, contract=contract) for n in "ab"], order=order)(batch)

    assert_close(logits("stack", shallow), logits("weave", shallow))
    assert not torch.allclose(logits("stack", CONTRACT), logits("weave", CONTRACT), atol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
def test_every_subset_in_one_batch_equals_every_patient_alone(order: FuseOrder) -> None:
    fused = LegoFuse([tiny_block(name) for name in "abc"], order=order)
    batch = tiny_cohort(["a", "b", "c", "ab", "ac", "bc", "abc"]).batch()

    together = fused(batch)

    for row in range(len(batch)):
        assert_close(together[row : row + 1], fused(only_row(batch, row)))


def test_the_phase_is_carried_from_block_to_block() -> None:
    blocks = [tiny_block(name) for name in "ab"]
    batch = tiny_cohort(["ab"]).batch()
    first = blocks[0].latent(batch.inputs["a"])
    memory = blocks[1].remember(batch.inputs["b"])
    latent_freq = first
    for index in range(CONTRACT.depth):
        latent_freq = blocks[1].trunk.read(latent_freq, memory, pass_index=index)

    fused = LegoFuse(blocks, order="stack")

    assert first.imag.abs().max() > 0.1
    assert_close(fused(batch), fused.head(latent_freq))


@pytest.mark.parametrize("order", ORDERS)
def test_no_patient_becomes_part_of_the_state(order: FuseOrder) -> None:
    """The published code keeps the last batch's latents in its state_dict; sending it would send patients."""
    fused = LegoFuse([tiny_block(name) for name in "ab"], order=order).train()
    before = copy.deepcopy(fused.state_dict())

    fused(tiny_cohort(["ab"] * 7).batch()).sum().backward()

    after = fused.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(7 in tensor.shape for tensor in after.values())


def test_training_a_fused_model_leaves_the_blocks_as_they_are() -> None:
    blocks = [tiny_block(name) for name in "ab"]
    before = [copy.deepcopy(block.state_dict()) for block in blocks]
    fused = LegoFuse(blocks)

    with torch.no_grad():
        for weight in fused.parameters():
            weight.add_(1)

    for block, state in zip(blocks, before, strict=True):
        assert all(torch.equal(block.state_dict()[name], tensor) for name, tensor in state.items())


def test_the_head_starts_as_the_merged_head() -> None:
    blocks = [tiny_block(name) for name in "ab"]
    expected = LegoMerge(blocks).merged_head("ab")

    head = dict(LegoFuse(blocks).head.named_parameters())

    assert all(torch.equal(head[name], weight) for name, weight in expected.items())


def test_the_head_starts_as_the_merged_head_of_these_weights() -> None:
    blocks, weights = [tiny_block(name) for name in "ab"], {"a": 0.9, "b": 0.3}
    expected = LegoMerge(blocks, modality_weights=weights).merged_head("ab")

    head = dict(LegoFuse(blocks, modality_weights=weights).head.named_parameters())

    assert all(torch.equal(head[name], weight) for name, weight in expected.items())
    equal = dict(LegoFuse(blocks).head.named_parameters())
    assert any(not torch.equal(head[name], equal[name]) for name in expected)
