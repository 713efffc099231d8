"""Several blocks, one model, no training."""

import copy
from itertools import permutations

import pytest
import torch
from blocks import assert_close, only_row, tiny_block, tiny_cohort

from lego_core import LegoFuse, LegoMerge
from lego_core.errors import DataError, MergeError
from lego_core.merging import HarmonicMean, Linear, Mean

EVERY_PATTERN = ["a", "b", "c", "ab", "ac", "bc", "abc"]


def test_the_order_of_the_blocks_never_matters() -> None:
    blocks = [tiny_block(name) for name in "abc"]
    batch = tiny_cohort(EVERY_PATTERN).batch()
    expected = LegoMerge(blocks)(batch)

    for order in permutations(blocks):
        assert_close(LegoMerge(order)(batch), expected)


def test_a_patient_with_one_modality_gets_that_blocks_own_logits() -> None:
    blocks = {name: tiny_block(name) for name in "abc"}
    batch = tiny_cohort(["a", "b", "c"]).batch()

    merged = LegoMerge(blocks.values())(batch)

    for row, name in enumerate("abc"):
        alone = only_row(batch, row).inputs[name]
        assert_close(merged[row : row + 1], blocks[name](alone))


def test_every_subset_in_one_batch_equals_every_patient_alone() -> None:
    model = LegoMerge([tiny_block(name) for name in "abc"])
    batch = tiny_cohort(EVERY_PATTERN).batch()

    together = model(batch)

    for row in range(len(batch)):
        assert_close(together[row : row + 1], model(only_row(batch, row)))


def test_an_absent_modality_equals_a_merge_without_its_block() -> None:
    blocks = [tiny_block(name) for name in "abc"]
    batch = tiny_cohort(["ab", "ab"]).batch()

    assert_close(LegoMerge(blocks)(batch), LegoMerge(blocks[:2])(batch))


def test_a_heavy_weight_moves_the_merge_towards_its_block() -> None:
    blocks = [tiny_block(name) for name in "ab"]
    batch = tiny_cohort(["ab"]).batch()
    alone = blocks[0](batch.inputs["a"])

    heavy = LegoMerge(blocks, latents=Mean(), heads=Linear(), modality_weights={"a": 1e6, "b": 1.0})

    torch.testing.assert_close(heavy(batch), alone, rtol=1e-3, atol=1e-3)


def test_merging_leaves_blocks_and_inputs_as_they_are() -> None:
    blocks = [tiny_block(name) for name in "ab"]
    before = [copy.deepcopy(block.state_dict()) for block in blocks]
    batch = tiny_cohort(["a", "ab"]).batch()
    values = batch.inputs["a"].values.clone()

    LegoMerge(blocks, latents=HarmonicMean())(batch)

    assert torch.equal(batch.inputs["a"].values, values)
    for block, state in zip(blocks, before, strict=True):
        assert all(torch.equal(block.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("model", [LegoMerge, LegoFuse])
def test_a_patient_without_any_known_modality_is_refused(model: type[LegoMerge] | type[LegoFuse]) -> None:
    batch = tiny_cohort(["a", "c"]).batch()

    with pytest.raises(DataError, match=r"1 of 2 patients have none of the modalities \['a', 'b'\]"):
        model([tiny_block("a"), tiny_block("b")])(batch)


def test_weights_of_modalities_travel_with_the_state() -> None:
    blocks, batch = [tiny_block(name) for name in "ab"], tiny_cohort(["ab", "b"]).batch()
    weighted = LegoMerge(blocks, modality_weights={"a": 0.4, "b": 0.1})
    loaded = LegoMerge(blocks)

    loaded.load_state_dict(weighted.state_dict())

    assert loaded.modality_weights == pytest.approx({"a": 0.4, "b": 0.1})
    assert torch.equal(loaded(batch), weighted(batch))
    assert (LegoMerge(blocks)(batch) - weighted(batch)).abs().max() > 1e-4


@pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 1.0, "c": 1.0}])
def test_weights_that_do_not_fit_the_modalities_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(MergeError, match=r"do not fit the modalities \['a', 'b'\]"):
        LegoMerge([tiny_block("a"), tiny_block("b")], modality_weights=weights)
