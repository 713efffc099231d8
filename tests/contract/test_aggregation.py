"""Every aggregation keeps what `aggregation/_contract.py` promises."""

from itertools import permutations
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from lego_core.aggregation import Aggregation, ServerState
from lego_core.errors import RunError, ShapeError
from lego_core.update import BlockUpdate

RULES = [kind() for kind in get_args(get_args(Aggregation)[0])]
RULES_OF_SUMS = [rule for rule in RULES if not rule.needs_individual_updates]

every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)
every_rule_of_sums = pytest.mark.parametrize("rule", RULES_OF_SUMS, ids=repr)

SITES = 5


def random_updates(seed: int, *, size: int = 6) -> list[BlockUpdate]:
    rng = torch.Generator().manual_seed(seed)
    weights = torch.randint(1, 400, (SITES,), generator=rng).float().tolist()
    return [BlockUpdate(torch.randn(size, generator=rng) * weight, weight) for weight in weights]


def rounds(rule, *updates: list[BlockUpdate]) -> Tensor:
    current, state = torch.zeros(6), ServerState()
    for of_one_round in updates:
        current, state = rule.aggregate(current, of_one_round, state=state)
    return current


@every_rule
def test_every_rule_counts_equal_updates_as_one(rule):
    step = torch.tensor([0.5, -2.0, 0.0, 1e-4, 3.0, -1.0])
    many = [BlockUpdate(step * weight, weight) for weight in (10.0, 250.0, 3.0, 40.0, 77.0)]
    equal = [BlockUpdate(step, 1.0)] * SITES

    torch.testing.assert_close(rounds(rule, many), rounds(rule, equal))


@every_rule
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_every_rule_ignores_the_order_of_sites(rule, seed):
    updates = random_updates(seed)
    expected = rounds(rule, updates, updates)

    for order in list(permutations(updates))[::17]:
        torch.testing.assert_close(rounds(rule, list(order), list(order)), expected, rtol=1e-6, atol=1e-7)


@every_rule
def test_every_rule_repeats_a_run_bit_for_bit(rule):
    first, second = random_updates(1), random_updates(2)

    assert torch.equal(rounds(rule, first, second), rounds(rule, first, second))


@every_rule_of_sums
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_every_rule_that_needs_no_single_site_makes_the_same_of_the_sum(rule, seed):
    updates = random_updates(seed)
    total = sum(updates, start=BlockUpdate.zero(6))

    assert torch.equal(rounds(rule, [total], [total]), rounds(rule, updates, updates))


@every_rule
def test_every_rule_leaves_its_arguments_alone_and_keeps_the_dtype(rule):
    current, updates, state = torch.ones(6), random_updates(3), ServerState()
    before = [update.total.clone() for update in updates]

    moved, _ = rule.aggregate(current, updates, state=state)

    assert moved.dtype == current.dtype
    assert torch.equal(current, torch.ones(6))
    assert all(torch.equal(update.total, kept) for update, kept in zip(updates, before, strict=True))
    assert state.step == 0
    assert not state.moments


@every_rule
def test_every_rule_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(rule):
    current, state = rule.aggregate(torch.zeros(6), random_updates(4), state=ServerState())
    restored = ServerState.from_tensors(state.to_tensors())

    with_break, _ = rule.aggregate(current, random_updates(5), state=restored)

    assert torch.equal(with_break, rounds(rule, random_updates(4), random_updates(5)))


@every_rule
def test_every_rule_stays_where_it_is_when_nothing_was_learned(rule):
    nothing = [BlockUpdate(torch.zeros(6), 10.0)] * SITES

    assert torch.equal(rounds(rule, nothing, nothing), torch.zeros(6))


@every_rule
def test_every_rule_refuses_a_round_without_updates(rule):
    with pytest.raises(RunError, match=r"no update to aggregate: no site answered\. Repeat the round\."):
        rule.aggregate(torch.zeros(6), [], state=ServerState())


@every_rule
def test_every_rule_refuses_a_round_without_patients(rule):
    with pytest.raises(RunError, match=r"update of weight 0 has no mean"):
        rule.aggregate(torch.zeros(6), [BlockUpdate(torch.zeros(6), 0.0)] * SITES, state=ServerState())


@every_rule
@pytest.mark.parametrize("broken", [torch.nan, torch.inf, -torch.inf])
def test_every_rule_refuses_numbers_that_are_not_finite(rule, broken):
    updates = random_updates(6)
    updates[2].total[3] = broken

    with pytest.raises(RunError, match=r"1 of 5 updates hold numbers that are not finite.*learning-rate"):
        rule.aggregate(torch.zeros(6), updates, state=ServerState())


@every_rule
@pytest.mark.parametrize("size", [1, 5, 7])
def test_every_rule_refuses_updates_of_another_block(rule, size):
    with pytest.raises(
        ShapeError, match=rf"update of {size} parameters does not fit a block of 6\. All sites"
    ):
        rule.aggregate(torch.zeros(6), random_updates(7, size=size), state=ServerState())


@every_rule
def test_every_rule_asks_sites_for_a_proximal_term_that_pulls_inwards(rule):
    assert rule.proximal_strength >= 0


def test_a_plan_names_every_rule_by_its_kind_and_learns_the_kinds_from_the_error():
    adapter = TypeAdapter(Aggregation)
    kinds = ["fedavg", "fedprox", "fedadam", "trimmed-mean", "median"]

    assert [adapter.validate_python({"kind": kind}).kind for kind in kinds] == kinds
    with pytest.raises(ValidationError, match=", ".join(f"'{kind}'" for kind in kinds)):
        adapter.validate_python({"kind": "fedagv"})
