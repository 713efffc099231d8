"""FedAvg and FedProx against hand-computed values."""

import pytest
import torch

from lego_core.aggregation import FedAvg, FedProx, ServerState
from lego_core.update import BlockUpdate

SITES = [
    BlockUpdate.between(torch.zeros(2), torch.tensor([1.0, 0.0]), weight=30.0),
    BlockUpdate.between(torch.zeros(2), torch.tensor([0.0, 2.0]), weight=10.0),
]


@pytest.mark.parametrize("rule", [FedAvg(), FedProx()], ids=repr)
def test_sites_count_by_their_patients(rule):
    moved, _ = rule.aggregate(torch.zeros(2), SITES, state=ServerState())

    assert moved.tolist() == [0.75, 0.5]


def test_the_result_is_the_mean_of_the_sites_weights_and_not_of_their_steps_alone():
    current = torch.tensor([10.0, 20.0])

    moved, _ = FedAvg().aggregate(current, SITES, state=ServerState())

    assert moved.tolist() == [10.75, 20.5]


def test_the_server_learning_rate_scales_the_step():
    moved, _ = FedAvg(server_learning_rate=2.0).aggregate(torch.ones(2), SITES, state=ServerState())

    assert moved.tolist() == [2.5, 2.0]


def test_fedprox_tells_the_sites_its_strength_and_fedavg_asks_for_none():
    assert FedProx(strength=0.1).proximal_strength == 0.1
    assert FedAvg().proximal_strength == 0


def test_only_the_rules_that_need_it_ask_to_see_each_site():
    assert not FedAvg().needs_individual_updates
    assert not FedProx().needs_individual_updates
