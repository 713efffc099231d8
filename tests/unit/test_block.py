"""One modality's model: its numbers, its common start, its manners."""

import copy

import numpy as np
import pytest
import torch
from blocks import CONTRACT, TABLE, RowEncoder, assert_close, tiny_block, tiny_cohort
from torch import nn

from lego_core import LatentContract, LegoBlock
from lego_core.block import check_mergeable
from lego_core.errors import MergeError, ShapeError
from lego_core.statistics import Normalisation


@pytest.mark.parametrize("domain", ["frequency", "signal"])
@pytest.mark.parametrize("phase", ["tracked", "dropped"])
@pytest.mark.parametrize("residual", [True, False])
def test_a_block_gives_what_plain_numpy_gives(domain: str, phase: str, residual: bool) -> None:
    changes = {"domain": domain, "phase": phase, "residual": residual}
    block = tiny_block("a", contract=CONTRACT.model_copy(update=changes))
    inputs = tiny_cohort(["a", "a", "a"], rows=4).batch().inputs["a"]

    assert_close(block(inputs), torch.from_numpy(_block_in_numpy(block, inputs.values.numpy())).float())


def test_the_transform_and_the_phase_are_there_unless_a_contract_says_otherwise() -> None:
    assert (LatentContract().domain, LatentContract().phase) == ("frequency", "tracked")
    assert tiny_block("a").latent(tiny_cohort(["a"]).batch().inputs["a"]).imag.abs().max() > 0.1


@pytest.mark.parametrize("change", [{"domain": "signal"}, {"phase": "dropped"}])
def test_in_the_signal_domain_or_without_phase_no_latent_has_an_imaginary_part(
    change: dict[str, str],
) -> None:
    block = tiny_block("a", contract=CONTRACT.model_copy(update=change))

    latent = block.latent(tiny_cohort(["a", "a"]).batch().inputs["a"])

    assert torch.equal(latent.imag, torch.zeros_like(latent.imag))
    assert latent.real.abs().max() > 0.1


def test_blocks_of_two_domains_are_not_merged() -> None:
    signal = CONTRACT.model_copy(update={"domain": "signal"})

    with pytest.raises(MergeError, match=r"'a' \(domain frequency\) with block 'b' \(domain signal\)"):
        check_mergeable([tiny_block("a"), tiny_block("b", contract=signal)])


def test_depth_without_shared_weights_gives_each_pass_its_own() -> None:
    shared = tiny_block("a", contract=CONTRACT)
    own = tiny_block("a", contract=CONTRACT.model_copy(update={"share_weights": False}))

    assert len(shared.trunk.attentions) == 1
    assert len(own.trunk.attentions) == CONTRACT.depth


def test_the_encoder_runs_once_per_forward_pass_whatever_the_depth() -> None:
    encoder = RowEncoder()
    contract = CONTRACT.model_copy(update={"depth": 5})
    block = LegoBlock("a", encoder, TABLE, contract=contract, num_outputs=2)

    block(tiny_cohort(["a"]).batch().inputs["a"])

    assert encoder.calls == 1


def test_blocks_of_one_seed_have_bit_identical_trunks_whatever_their_modality() -> None:
    one = LegoBlock("a", RowEncoder(), TABLE, contract=CONTRACT, num_outputs=2, seed=7)
    other = LegoBlock("b", RowEncoder(token_dim=9), TABLE, contract=CONTRACT, num_outputs=2, seed=7)

    for (name, weight), counterpart in zip(
        one.trunk.named_parameters(), other.trunk.parameters(), strict=True
    ):
        assert torch.equal(weight, counterpart), name


def test_blocks_of_different_seeds_start_apart() -> None:
    one = LegoBlock("a", RowEncoder(), TABLE, contract=CONTRACT, num_outputs=2, seed=7)
    other = LegoBlock("a", RowEncoder(), TABLE, contract=CONTRACT, num_outputs=2, seed=8)

    assert not torch.equal(one.trunk.latent, other.trunk.latent)


def test_building_a_block_leaves_the_callers_randomness_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)

    LegoBlock("a", RowEncoder(), TABLE, contract=CONTRACT, num_outputs=2, seed=7)

    assert not torch.equal(torch.rand(1), torch.zeros(1))
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), expected)


def test_a_forward_pass_changes_neither_state_nor_inputs() -> None:
    block = tiny_block("a").train()
    inputs = tiny_cohort(["a", "a"], rows=3).batch().inputs["a"]
    before, values = copy.deepcopy(block.state_dict()), inputs.values.clone()

    block(inputs)

    assert block.state_dict().keys() == before.keys()
    assert all(torch.equal(block.state_dict()[name], tensor) for name, tensor in before.items())
    assert torch.equal(inputs.values, values)


def test_padding_and_company_do_not_change_a_patient() -> None:
    block = tiny_block("a")
    short, long = tiny_cohort(["a"], rows=2), tiny_cohort(["a"], rows=6, seed=5)
    together = short.keep([*short.records, *(r for r in long.records)][:1]).batch().inputs["a"]
    renamed = [short.records[0], _renamed(long.records[0])]

    padded = short.keep(renamed).batch().inputs["a"]

    assert_close(block(padded)[:1], block(together))


def test_what_was_not_measured_is_no_number() -> None:
    block = tiny_block("a")
    block.normalise_with(Normalisation(torch.tensor([5.0, 5.0]), torch.ones(2)))
    inputs = tiny_cohort(["a"]).batch().inputs["a"]
    inputs.measured[:] = False
    inputs.values[:] = 0

    at_the_mean = tiny_cohort(["a"]).batch().inputs["a"]
    at_the_mean.values[:] = 5

    assert_close(block(inputs), block(at_the_mean))


def test_every_weight_gets_a_gradient() -> None:
    block = tiny_block("a").train()

    block(tiny_cohort(["a", "a"], rows=3).batch().inputs["a"]).sum().backward()

    without = [name for name, weight in block.named_parameters() if weight.grad is None]
    assert without == []


def test_a_width_that_does_not_split_into_heads_is_refused() -> None:
    contract = LatentContract(latent_dim=6, num_heads=4)

    with pytest.raises(ShapeError, match="width 6 does not split into 4 heads"):
        LegoBlock("a", RowEncoder(), TABLE, contract=contract, num_outputs=1)


def test_an_encoder_that_does_not_tell_its_width_is_refused() -> None:
    with pytest.raises(ShapeError, match="block 'a' does not tell how wide its tokens are"):
        LegoBlock("a", nn.Linear(2, 2), TABLE, contract=CONTRACT, num_outputs=1)


def test_no_block_cannot_be_merged() -> None:
    with pytest.raises(MergeError, match="no block to merge"):
        check_mergeable([])


def test_two_blocks_of_one_modality_are_refused() -> None:
    with pytest.raises(MergeError, match="share a modality"):
        check_mergeable([tiny_block("a"), tiny_block("a")])


def test_blocks_of_different_latent_shape_are_refused_with_both_values() -> None:
    wide = CONTRACT.model_copy(update={"num_latents": 32})

    with pytest.raises(MergeError, match=r"'a' \(num_latents 3\) with block 'b' \(num_latents 32\)"):
        check_mergeable([tiny_block("a"), tiny_block("b", contract=wide)])


def test_blocks_of_different_tasks_are_refused() -> None:
    with pytest.raises(MergeError, match=r"'a' \(2 outputs\) with block 'b' \(4 outputs\)"):
        check_mergeable([tiny_block("a"), tiny_block("b", num_outputs=4)])


def _renamed(record):
    from dataclasses import replace

    return replace(record, patient_id="another")


def _block_in_numpy(block: LegoBlock, x: np.ndarray) -> np.ndarray:
    w = {name: value.detach().double().numpy() for name, value in block.state_dict().items()}
    heads = block.contract.num_heads
    in_frequency = block.contract.domain == "frequency"
    there, back = (np.fft.fft2, np.fft.ifft2) if in_frequency else (_stay, _stay)
    tokens = x @ w["encoder.linear.weight"].T + w["encoder.linear.bias"]
    tokens = _layer_norm(tokens, w["token_memory.norm.weight"], w["token_memory.norm.bias"])
    keys, values = tokens @ w["token_memory.to_key.weight"].T, tokens @ w["token_memory.to_value.weight"].T
    z = np.broadcast_to(there(w["trunk.latent"], norm="ortho"), (len(x), *w["trunk.latent"].shape))
    for _ in range(block.contract.depth):
        signal = back(z, norm="ortho").real
        signal = signal - signal.mean(axis=(1, 2), keepdims=True)
        signal = signal / np.sqrt((signal**2).mean(axis=(1, 2), keepdims=True))
        z = there(signal, norm="ortho")
        p = "trunk.attentions.0."
        queries = _layer_norm(z.real, w[p + "norm.weight"], w[p + "norm.bias"]) @ w[p + "to_query.weight"].T
        answer = np.concatenate(
            [
                _softmax(q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])) @ v
                for q, k, v in zip(
                    *(np.split(a, heads, axis=-1) for a in (queries, keys, values)), strict=True
                )
            ],
            axis=-1,
        )
        answer = answer @ w[p + "to_output.weight"].T + w[p + "to_output.bias"]
        real = z.real + answer if block.contract.residual else answer
        p = "trunk.feed_forwards.0.layers."
        inner = _layer_norm(real, w[p + "0.weight"], w[p + "0.bias"]) @ w[p + "1.weight"].T + w[p + "1.bias"]
        real = real + _gelu(inner) @ w[p + "4.weight"].T + w[p + "4.bias"]
        z = real + 1j * (z.imag if block.contract.phase == "tracked" else 0)
    pooled = _layer_norm(z.real.mean(axis=1), w["trunk.head.norm.weight"], w["trunk.head.norm.bias"])
    return pooled @ w["trunk.head.linear.weight"].T + w["trunk.head.linear.bias"]


def _stay(x: np.ndarray, *, norm: str) -> np.ndarray:
    return x


def _layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * weight + bias


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _gelu(x: np.ndarray) -> np.ndarray:
    from scipy.special import erf

    return x * (1 + erf(x / np.sqrt(2))) / 2


def test_a_block_begins_near_the_base_rates_of_the_group() -> None:
    base = (-2.0, 1.5)
    arguments = {"contract": CONTRACT, "num_outputs": 2}
    block, lost = (
        LegoBlock("a", RowEncoder(), TABLE, base_logits=start, **arguments).eval() for start in (base, None)
    )
    inputs = tiny_cohort(["a"] * 6).batch().inputs["a"]

    far, near = (float((one(inputs).detach() - torch.tensor(base)).abs().mean()) for one in (lost, block))

    assert near < 0.5 < far


def test_base_logits_that_do_not_fit_the_outputs_are_refused() -> None:
    with pytest.raises(ShapeError, match="A head of 2 outputs cannot begin at 3 base logits"):
        LegoBlock("a", RowEncoder(), TABLE, contract=CONTRACT, num_outputs=2, base_logits=(0.0, 0.0, 0.0))
