"""Which tensors travel: those that are trained, each in one part, and nothing else."""

import pytest
import torch
from blocks import CONTRACT, TABLE, RowEncoder, tiny_block
from torch import Tensor, nn

from lego_core import LegoBlock, LegoFuse
from lego_core.exchangeable import declared, exchanged, parts
from lego_core.records import Inputs, Tokens


class NormalisingEncoder(RowEncoder):
    """An encoder with buffers of both kinds: running means, and a counter of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)

    def forward(self, inputs: Inputs) -> Tokens:
        tokens = super().forward(inputs)
        return Tokens(self.norm(tokens.values.transpose(1, 2)).transpose(1, 2), tokens.present)


def models() -> list[LegoBlock | LegoFuse]:
    return [tiny_block("a"), LegoFuse([tiny_block("a"), tiny_block("b")])]


def normalising_block() -> LegoBlock:
    return LegoBlock("a", NormalisingEncoder(), TABLE, contract=CONTRACT, num_outputs=2)


@pytest.mark.parametrize("model", models(), ids=["block", "fused"])
def test_every_exchanged_tensor_is_in_one_part(model):
    names = [name for part in parts(model).values() for name in part]

    assert sorted(names) == sorted(exchanged(model))


@pytest.mark.parametrize("model", models(), ids=["block", "fused"])
def test_all_that_is_trained_is_exchanged(model):
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}

    assert trained <= set(exchanged(model))


def test_block_has_its_trunk_and_its_own_part():
    split = parts(tiny_block("a"))

    assert list(split) == ["trunk", "own"]
    assert all(name.startswith("trunk.") for name in split["trunk"])
    assert {name.split(".")[0] for name in split["own"]} == {"encoder", "token_memory"}


def test_trunks_of_all_modalities_have_the_same_tensors():
    one, other = tiny_block("a"), tiny_block("b")

    assert parts(one)["trunk"] == parts(other)["trunk"]
    assert [exchanged(one)[n].shape for n in parts(one)["trunk"]] == [
        exchanged(other)[n].shape for n in parts(one)["trunk"]
    ]


def test_fused_model_has_a_part_per_block_and_its_head():
    split = parts(LegoFuse([tiny_block("a"), tiny_block("b")]))

    assert list(split) == ["a", "b", "head"]
    assert all(name.startswith("blocks.a.") for name in split["a"])


def test_what_the_sites_agreed_on_does_not_travel():
    block = tiny_block("a")
    agreed = {name for name in block.state_dict() if "feature_" in name}

    assert agreed
    assert not agreed & exchanged(block).keys()


def test_frozen_weights_do_not_travel():
    block = tiny_block("a")
    head = {name for name in exchanged(block) if name.startswith("trunk.head.")}

    block.trunk.head.requires_grad_(False)

    assert head
    assert not head & exchanged(block).keys()
    assert not [name for name in exchanged(LegoFuse([tiny_block("a")])) if "trunk.head." in name]


def test_running_means_travel_and_counters_do_not():
    names = exchanged(normalising_block())

    assert {"encoder.norm.running_mean", "encoder.norm.running_var"} <= set(names)
    assert "encoder.norm.num_batches_tracked" not in names


def test_tensors_share_memory_with_the_model():
    block = tiny_block("a")

    exchanged(block)["trunk.latent"].zero_()

    assert torch.equal(block.trunk.latent, torch.zeros_like(block.trunk.latent))


def test_tensors_are_free_of_gradients():
    assert {tensor.requires_grad for tensor in exchanged(tiny_block("a")).values()} == {False}


@pytest.mark.parametrize("model", [*models(), normalising_block()], ids=["block", "fused", "normalising"])
def test_declared_are_all_exchanged_tensors_as_float32(model):
    shapes: dict[str, Tensor] = exchanged(model)

    assert declared(model) == {name: (tensor.shape, torch.float32) for name, tensor in shapes.items()}
