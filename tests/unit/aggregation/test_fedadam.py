"""FedAdam against a plain loop of the paper's algorithm 2."""

import numpy as np
import pytest
import torch

from lego_core.aggregation import FedAdam, ServerState
from lego_core.errors import ShapeError
from lego_core.update import BlockUpdate


def by_the_paper(start, sites_by_round, *, eta, beta_1, beta_2, tau):
    """Algorithm 2 of Reddi et al., one parameter at a time, with updates weighted by patients."""
    weights = list(start)
    first = [0.0] * len(weights)
    second = [tau**2] * len(weights)
    for sites in sites_by_round:
        patients = sum(count for _, count in sites)
        for i in range(len(weights)):
            delta = sum(count * change[i] for change, count in sites) / patients
            first[i] = beta_1 * first[i] + (1 - beta_1) * delta
            second[i] = beta_2 * second[i] + (1 - beta_2) * delta**2
            weights[i] += eta * first[i] / (np.sqrt(second[i]) + tau)
    return weights


@pytest.mark.parametrize("beta_1", [0.9, 0.0])
@pytest.mark.parametrize("tau", [1e-3, 0.1])
def test_twenty_rounds_follow_the_algorithm_of_the_paper(beta_1, tau):
    rng = np.random.default_rng(0)
    start = rng.normal(size=7)
    sites_by_round = [
        [(rng.normal(scale=0.05, size=7), float(count)) for count in rng.integers(1, 300, size=3)]
        for _ in range(20)
    ]
    rule = FedAdam(server_learning_rate=0.03, first_decay=beta_1, second_decay=0.99, adaptivity=tau)
    current, state = torch.tensor(start), ServerState()

    for sites in sites_by_round:
        updates = [BlockUpdate(torch.tensor(change) * count, count) for change, count in sites]
        current, state = rule.aggregate(current, updates, state=state)

    expected = by_the_paper(start, sites_by_round, eta=0.03, beta_1=beta_1, beta_2=0.99, tau=tau)
    np.testing.assert_allclose(current.numpy(), expected, rtol=1e-12)
    assert state.step == 20


def test_defaults_are_the_papers_decays_and_adaptivity():
    rule = FedAdam()

    assert (rule.first_decay, rule.second_decay, rule.adaptivity) == (0.9, 0.99, 1e-3)


def test_the_first_step_of_a_large_update_is_about_the_learning_rate():
    moved, _ = FedAdam(server_learning_rate=0.5).aggregate(
        torch.zeros(2), [BlockUpdate(torch.tensor([100.0, -3.0]), 1.0)], state=ServerState()
    )

    torch.testing.assert_close(moved, torch.tensor([0.5, -0.5]), rtol=0.01, atol=0)


def test_the_first_step_of_a_small_update_is_in_proportion_to_it():
    moved, _ = FedAdam(server_learning_rate=0.5).aggregate(
        torch.zeros(1), [BlockUpdate(torch.tensor([1e-5]), 1.0)], state=ServerState()
    )

    assert moved.item() == pytest.approx(0.05 * 0.5 / 1e-3 * 1e-5, rel=0.01)


def test_a_state_of_another_block_is_refused():
    rule, one_round = FedAdam(), [BlockUpdate(torch.ones(3), 1.0)]
    _, state = rule.aggregate(torch.zeros(3), one_round, state=ServerState())

    with pytest.raises(ShapeError, match=r"moments of FedAdam are of 3 and 3 parameters and the block has 4"):
        rule.aggregate(torch.zeros(4), [BlockUpdate(torch.ones(4), 1.0)], state=state)


def test_the_state_is_plain_tensors_for_a_checkpoint():
    _, state = FedAdam().aggregate(torch.zeros(3), [BlockUpdate(torch.ones(3), 1.0)], state=ServerState())

    tensors = state.to_tensors()

    assert sorted(tensors) == ["moment.first", "moment.second", "step"]
    assert all(isinstance(tensor, torch.Tensor) and tensor.is_contiguous() for tensor in tensors.values())
