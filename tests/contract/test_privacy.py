"""What every privacy plan promises."""

from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from lego_core.privacy import AbstractPrivacy, NoPrivacy, PatientDp, Privacy
from lego_core.update import BlockUpdate, to_vector

PLANS: list[AbstractPrivacy] = [
    NoPrivacy(kind="no-privacy"),
    PatientDp(kind="patient-dp", epsilon=3, noise_multiplier=2, batch_size=32, steps=50),
]
LIKE = {"a.weight": torch.zeros(2, 3), "b": torch.zeros(())}


def update(seed: int, weight: float) -> BlockUpdate:
    values = torch.randn(7, generator=torch.Generator().manual_seed(seed))
    return BlockUpdate(values * weight, weight)


@pytest.mark.parametrize("plan", PLANS)
def test_what_leaves_is_what_was_declared(plan: AbstractPrivacy) -> None:
    sent = plan.protect(update(0, 5.0), LIKE).tensors

    forms = {name: (tensor.shape, tensor.dtype) for name, tensor in sent.items()}
    assert forms == plan.declared(LIKE)


@pytest.mark.parametrize("plan", PLANS)
def test_the_server_reads_the_sum_of_what_the_sites_learned(plan: AbstractPrivacy) -> None:
    updates = [update(0, 5.0), update(1, 3.0), update(2, 8.0)]

    revealed = plan.reveal([plan.protect(one, LIKE) for one in updates], LIKE)

    total, expected = sum(revealed[1:], start=revealed[0]), sum(updates[1:], start=updates[0])
    assert total.weight == expected.weight
    torch.testing.assert_close(total.total.float(), expected.total.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_says_aloud_what_it_claims(plan: AbstractPrivacy) -> None:
    assert len(plan.claim.split()) > 10
    assert plan.claim.endswith(".")


def test_without_privacy_every_update_is_seen_as_it_is() -> None:
    plan, one = NoPrivacy(kind="no-privacy"), update(4, 2.0)

    tensors = plan.protect(one, LIKE).tensors

    assert plan.shows_individual_updates
    _assert_equal(tensors, one.mean())


@pytest.mark.parametrize("plan", PLANS)
def test_nobody_gets_a_plan_without_saying_so(plan: AbstractPrivacy) -> None:
    with pytest.raises(ValueError, match="kind\n  Field required"):
        type(plan).model_validate({})


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_survives_its_document(plan: AbstractPrivacy) -> None:
    assert TypeAdapter(Privacy).validate_python(plan.to_plain()) == plan


def test_every_plan_is_tested() -> None:
    assert {type(plan) for plan in PLANS} == set(get_args(get_args(Privacy)[0]))


def _assert_equal(tensors: dict[str, Tensor], vector: Tensor) -> None:
    torch.testing.assert_close(to_vector(tensors), vector.float())
