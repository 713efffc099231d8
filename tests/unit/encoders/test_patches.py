"""Gated attention over a bag of patches."""

import numpy as np
import torch

from lego_core.encoders import Patches
from lego_core.records import ModalitySchema

SCHEMA = ModalitySchema(layout="bag", features=tuple("abcde"))


def gated_attention(bag, weights):
    """Equation 9 of Ilse, Tomczak, Welling (2018), patch by patch, in numpy."""
    hidden = [np.maximum(weights["project.0.weight"] @ row + weights["project.0.bias"], 0) for row in bag]
    scores = []
    for row in hidden:
        content = np.tanh(weights["content.weight"] @ row + weights["content.bias"])
        gate = 1 / (1 + np.exp(-(weights["gate.weight"] @ row + weights["gate.bias"])))
        scores.append(weights["score.weight"] @ (content * gate) + weights["score.bias"])
    tokens = []
    for branch in np.array(scores).T:
        attention = np.exp(branch) / np.exp(branch).sum()
        tokens.append(sum(a * row for a, row in zip(attention, hidden, strict=True)))
    return np.array(tokens)


def test_tokens_equal_gated_attention_computed_patch_by_patch(make_inputs):
    module = Patches(token_dim=6, num_tokens=3, attention_dim=7).build(SCHEMA).eval()
    bag = torch.randn(1, 11, 5)

    tokens = module(make_inputs(bag)).values

    weights = {name: weight.double().numpy() for name, weight in module.state_dict().items()}
    expected = gated_attention(bag[0].double().numpy(), weights)
    np.testing.assert_allclose(tokens[0].detach().numpy(), expected, atol=1e-6)


def test_order_of_patches_does_not_matter(make_inputs):
    module = Patches().build(SCHEMA).eval()
    bag = torch.randn(2, 50, 5)

    shuffled = module(make_inputs(bag[:, torch.randperm(50)]))

    torch.testing.assert_close(shuffled.values, module(make_inputs(bag)).values)


def test_padding_has_no_weight_at_all(make_inputs):
    module = Patches().build(SCHEMA).eval()
    bag = torch.randn(2, 9, 5)
    present = torch.arange(9) < torch.tensor([[4], [9]])
    other = torch.where(present.unsqueeze(-1), bag, 1e3)

    tokens = module(make_inputs(bag, present=present))

    assert torch.equal(tokens.values, module(make_inputs(other, present=present)).values)


def test_padding_receives_no_gradient(make_inputs):
    module = Patches().build(SCHEMA)
    bag = torch.randn(1, 9, 5, requires_grad=True)
    present = torch.arange(9).unsqueeze(0) < 4

    module(make_inputs(bag, present=present)).values.sum().backward()

    assert (bag.grad[0, 4:] == 0).all()
    assert (bag.grad[0, :4] != 0).any()


def test_every_branch_gives_a_token_of_its_own(make_inputs):
    tokens = Patches(num_tokens=3).build(SCHEMA).eval()(make_inputs(torch.randn(1, 20, 5)))

    assert tokens.present.shape == (1, 3)
    assert not torch.allclose(tokens.values[0, 0], tokens.values[0, 1])


def test_a_large_bag_keeps_every_patch_until_attention(make_inputs):
    module = Patches(num_tokens=1).build(SCHEMA).eval()
    bag = torch.randn(1, 5000, 5)
    changed = bag.clone()
    changed[0, 4321] += 10.0

    assert not torch.equal(module(make_inputs(bag)).values, module(make_inputs(changed)).values)
