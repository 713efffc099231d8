"""Blocks whose trunks were merged: one trunk for all modalities."""

import copy
from collections.abc import Iterable
from itertools import permutations
from typing import get_args

import pytest
import torch
from blocks import CONTRACT, TABLE, RowEncoder, assert_close, tiny_block, tiny_cohort
from torch import Tensor

from lego_core import LegoBlock, LegoFuse, LegoMerge
from lego_core.errors import MergeError
from lego_core.gram import GramStatistics
from lego_core.merging import Dare, Linear, ModalityArithmetic, RegMean, Slerp, Ties, WeightMerge
from lego_core.trunk import TRUNK_PARTS, LatentContract

EVERY_PATTERN = ["a", "b", "c", "ab", "ac", "bc", "abc"]
METHODS = [kind() for kind in get_args(get_args(WeightMerge)[0])]
BATCH = tiny_cohort(EVERY_PATTERN).batch()


def start_of(contract: LatentContract = CONTRACT) -> dict[str, Tensor]:
    """The trunk that tiny blocks had before they were "trained"."""
    return dict(LegoBlock("x", RowEncoder(), TABLE, contract=contract, num_outputs=2).trunk.state_dict())


def grams_of(blocks: Iterable[LegoBlock]) -> dict[str, GramStatistics]:
    return {
        block.modality: GramStatistics.of(
            block, tiny_cohort([block.modality] * 20, seed=number).marked("train")
        )
        for number, block in enumerate(sorted(blocks, key=lambda block: block.modality))
    }


def merged(blocks: Iterable[LegoBlock], method: WeightMerge, **more: object) -> LegoMerge:
    blocks = list(blocks)
    return LegoMerge(
        blocks, trunk=method, heads=method, start=start_of(), grams=grams_of(blocks), **more
    ).eval()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_the_order_of_the_blocks_never_matters(method):
    blocks = [tiny_block(name) for name in "abc"]
    expected = merged(blocks, method)(BATCH)

    for order in permutations(blocks):
        assert_close(merged(order, method)(BATCH), expected)


def test_every_block_reads_with_the_averaged_trunk():
    blocks = [tiny_block(name) for name in "abc"]
    states = [block.trunk.state_dict() for block in blocks]
    average = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    expected = copy.deepcopy(blocks)
    for block in expected:
        own_head = copy.deepcopy(block.trunk.head)
        block.trunk.load_state_dict(average)
        block.trunk.head = own_head

    model = LegoMerge(blocks, trunk=Linear())

    assert_close(model(BATCH), LegoMerge(expected)(BATCH))


def test_a_trunk_that_did_not_change_is_the_trunk():
    blocks = [tiny_block(name) for name in "ab"]
    for block in blocks:
        block.trunk.load_state_dict(blocks[0].trunk.state_dict())
    batch = tiny_cohort(["a", "b", "ab"]).batch()

    for method in (Slerp(), Linear(), RegMean()):
        model = LegoMerge(blocks, trunk=method, grams=grams_of(blocks))

        assert_close(model(batch), LegoMerge(blocks)(batch))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_merging_leaves_the_blocks_as_they_are(method):
    blocks = [tiny_block(name) for name in "abc"]
    before = [copy.deepcopy(block.state_dict()) for block in blocks]

    merged(blocks, method)(BATCH)

    for block, state in zip(blocks, before, strict=True):
        assert all(torch.equal(block.state_dict()[name], tensor) for name, tensor in state.items())


def test_a_patient_with_one_modality_no_longer_gets_that_blocks_logits():
    blocks = [tiny_block(name) for name in "ab"]
    batch = tiny_cohort(["a"]).batch()

    model = LegoMerge(blocks, trunk=Linear())

    assert (model(batch) - blocks[0](batch.inputs["a"])).abs().max() > 1e-3


def test_a_heavy_weight_moves_the_trunk_towards_its_block():
    blocks = [tiny_block(name) for name in "ab"]
    batch = tiny_cohort(["a"]).batch()

    heavy = LegoMerge(blocks, trunk=Linear(), modality_weights={"a": 1e6, "b": 1.0})

    torch.testing.assert_close(heavy(batch), blocks[0](batch.inputs["a"]), rtol=1e-3, atol=1e-3)


# ---- what stays apart --------------------------------------------------------------------------

LAYER_NORMS = {
    "attentions.0.norm.weight", "attentions.0.norm.bias",
    "feed_forwards.0.layers.0.weight", "feed_forwards.0.layers.0.bias",
}  # fmt: skip
ATTENTION = {
    "attentions.0.to_query.weight", "attentions.0.to_output.weight", "attentions.0.to_output.bias",
}  # fmt: skip
FEED_FORWARD = {f"feed_forwards.0.layers.{layer}.{kind}" for layer in (1, 4) for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("part", "tensors"),
    [
        ("latent", {"latent"}),
        ("attention", ATTENTION),
        ("feed-forward", FEED_FORWARD),
        ("norms", LAYER_NORMS),
    ],
)
def test_every_part_of_the_trunk_can_stay_apart(part, tensors):
    model = LegoMerge([tiny_block("a"), tiny_block("b")], trunk=Linear(), apart=[part])

    assert set(model.shared.by_name()) == ({"latent"} | ATTENTION | FEED_FORWARD | LAYER_NORMS) - tensors


def test_with_all_parts_apart_nothing_was_merged_but_latents_and_heads():
    blocks = [tiny_block(name) for name in "abc"]

    model = LegoMerge(blocks, trunk=Linear(), apart=TRUNK_PARTS)

    assert_close(model(BATCH), LegoMerge(blocks)(BATCH))
    assert model.num_parameters == LegoMerge(blocks).num_parameters


def test_an_unknown_part_is_refused():
    with pytest.raises(
        MergeError, match=r"no part 'norm'\. Its parts are \['latent', 'attention', 'feed-forw"
    ):
        LegoMerge([tiny_block("a")], trunk=Linear(), apart=["norm"])


def test_parts_cannot_stay_apart_where_nothing_is_merged():
    with pytest.raises(MergeError, match=r"\['norms'\] are to stay apart and no trunks are merged"):
        LegoMerge([tiny_block("a")], apart=["norms"])


# ---- how large it is ---------------------------------------------------------------------------


def size_of(block: LegoBlock, *, trunk: bool) -> int:
    return sum(
        weight.numel()
        for name, weight in block.named_parameters()
        if trunk == (name.startswith("trunk.") and not name.startswith("trunk.head."))
    )


@pytest.mark.parametrize("names", ["a", "ab", "abcde"])
def test_a_merged_trunk_is_needed_once_and_everything_else_once_per_block(names):
    blocks = [tiny_block(name) for name in names]
    own = sum(size_of(block, trunk=False) for block in blocks)

    assert LegoMerge(blocks).num_parameters == own + len(names) * size_of(blocks[0], trunk=True)
    assert LegoMerge(blocks, trunk=Linear()).num_parameters == own + size_of(blocks[0], trunk=True)


def test_a_prediction_needs_no_weights_but_those_that_are_counted():
    blocks = [tiny_block(name) for name in "ab"]
    model = LegoMerge(blocks, trunk=Linear())
    batch = tiny_cohort(["a", "b", "ab"]).batch()
    expected = model(batch)

    with torch.no_grad():  # the trunks of the blocks, which the merged one stands for
        for block in blocks:
            for name in block.trunk.parts():
                block.trunk.get_parameter(name).fill_(torch.nan)

    assert torch.equal(model(batch), expected)


# ---- what it works with ------------------------------------------------------------------------


@pytest.mark.parametrize("method", [ModalityArithmetic(), Ties(), Dare()], ids=lambda method: method.kind)
@pytest.mark.parametrize("where", ["trunk", "heads"])
def test_a_merge_without_the_start_it_needs_is_refused(method, where):
    with pytest.raises(
        MergeError, match=f"'{method.kind}' works on changes .* no start was given. Give `start`"
    ):
        LegoMerge([tiny_block("a"), tiny_block("b")], **{where: method})


@pytest.mark.parametrize("where", ["trunk", "heads"])
def test_a_merge_without_the_gram_matrices_it_needs_is_refused(where):
    blocks = [tiny_block("a"), tiny_block("b")]

    with pytest.raises(
        MergeError, match=r"'regmean' asks what .* no Gram matrices of block 'b'\. Give `grams`"
    ):
        LegoMerge(blocks, grams=grams_of(blocks[:1]), **{where: RegMean()})


def test_the_start_of_another_contract_is_refused():
    larger = LatentContract(num_latents=3, latent_dim=8, num_heads=2)

    with pytest.raises(
        MergeError, match=r"does not fit the blocks: it has no tensor 'latent' of shape \(3, 4\)"
    ):
        LegoMerge([tiny_block("a"), tiny_block("b")], trunk=Ties(), start=start_of(larger))


def test_gram_matrices_of_another_contract_are_refused():
    larger = LatentContract(num_latents=3, latent_dim=8, num_heads=2)
    grams = grams_of([tiny_block("a", contract=larger)])

    with pytest.raises(MergeError, match=r"for block 'a' are those of layers \{.*8.*\}, and its layers are"):
        LegoMerge([tiny_block("a")], heads=RegMean(), grams=grams)


def test_the_arithmetic_of_strength_zero_is_the_start():
    blocks = [tiny_block(name) for name in "ab"]

    model = LegoMerge(blocks, trunk=ModalityArithmetic(strength=0), start=start_of())

    for name, tensor in model.shared.by_name().items():
        assert torch.equal(tensor, start_of()[name])


def test_regmean_merges_heads_by_what_they_are_fed():
    blocks = [tiny_block(name) for name in "ab"]
    grams = grams_of(blocks)
    heads = [block.trunk.head.linear.weight.detach().double() for block in blocks]
    own = [grams[name].sums["head.linear"] / 20 for name in "ab"]
    expected = torch.linalg.solve(own[0] + own[1], own[0] @ heads[0].T + own[1] @ heads[1].T).T

    head = LegoMerge(blocks, heads=RegMean(gamma=1.0), grams=grams).merged_head("ab")

    torch.testing.assert_close(head["linear.weight"].double(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        head["linear.bias"],
        (blocks[0].trunk.head.linear.bias + blocks[1].trunk.head.linear.bias).detach() / 2,
    )


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_weights_loaded_into_another_merge_of_that_form_predict_the_same(method):
    blocks = [tiny_block(name) for name in "abc"]
    expected = merged(blocks, method)
    fresh = [LegoBlock(name, RowEncoder(), TABLE, contract=CONTRACT, num_outputs=2) for name in "abc"]
    nobody = {block.modality: GramStatistics.of_nobody(block.trunk) for block in fresh}
    other = LegoMerge(fresh, trunk=method, heads=method, start=start_of(), grams=nobody).eval()

    other.load_state_dict(expected.state_dict())

    assert torch.equal(other(BATCH), expected(BATCH))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_a_fused_model_starts_with_the_head_of_the_merge(method):
    blocks = [tiny_block(name) for name in "ab"]
    more = {"heads": method, "start": start_of(), "grams": grams_of(blocks)}

    head = dict(LegoFuse(blocks, **more).head.named_parameters())

    for name, tensor in LegoMerge(blocks, **more).merged_head("ab").items():
        assert torch.equal(head[name].detach(), tensor)
