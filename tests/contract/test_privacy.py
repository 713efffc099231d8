"""What every privacy plan promises."""

import pytest
from pydantic import TypeAdapter, ValidationError

from lego_core.privacy import AbstractPrivacy, NoPrivacy, Privacy, SecureSum

PLANS: list[AbstractPrivacy] = [
    NoPrivacy(kind="no-privacy"),
    SecureSum(kind="secure-sum"),
    SecureSum(kind="secure-sum", max_corrupt=2, min_survivors=3),
]


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_says_aloud_what_it_claims(plan: AbstractPrivacy) -> None:
    assert len(plan.claim.split()) > 10
    assert plan.claim.endswith(".")


@pytest.mark.parametrize("plan", PLANS)
def test_one_sum_cannot_be_compared_with_anything(plan: AbstractPrivacy) -> None:
    assert plan.shows_several_updates == (plan.sum_terms is None)


def test_sums_of_buckets_can_be_compared() -> None:
    assert SecureSum(kind="secure-sum", buckets=3).shows_several_updates


@pytest.mark.parametrize("plan", PLANS)
def test_no_sum_is_of_fewer_than_three_sites(plan: AbstractPrivacy) -> None:
    assert plan.sum_terms is None or plan.sum_terms.fewest >= 3


def test_of_a_sum_two_sites_at_least_are_honest() -> None:
    assert SecureSum(kind="secure-sum", max_corrupt=2).fewest == 4


def test_sums_of_two_sites_are_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        SecureSum(kind="secure-sum", min_survivors=2)


def test_nobody_gets_a_plan_without_saying_so() -> None:
    for kind in (NoPrivacy, SecureSum):
        with pytest.raises(ValidationError, match="Field required"):
            kind.model_validate({})
    with pytest.raises(ValidationError, match="Unable to extract tag"):
        TypeAdapter(Privacy).validate_python({})
