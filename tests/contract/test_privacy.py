"""What every privacy plan promises."""

from typing import get_args

import pytest
from pydantic import TypeAdapter, ValidationError

from lego_core.privacy import AbstractPrivacy, NoiseTerms, NoPrivacy, PatientDp, Privacy, SecureSum, SumTerms

NOISE = {"epsilon": 3, "noise_multiplier": 2, "batch_size": 32, "steps": 50}
PLANS: list[AbstractPrivacy] = [
    NoPrivacy(kind="no-privacy"),
    SecureSum(kind="secure-sum"),
    SecureSum(kind="secure-sum", max_corrupt=2, min_survivors=3),
    SecureSum(kind="secure-sum", too_few="patient-dp", alone=("scan",), patient_dp=NoiseTerms(**NOISE)),
    PatientDp(kind="patient-dp", **NOISE),
    PatientDp(kind="patient-dp", **NOISE, secure_sum=SumTerms(max_corrupt=1), alone=("scan",)),
]


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_says_aloud_what_it_claims(plan: AbstractPrivacy) -> None:
    assert len(plan.claim.split()) > 10
    assert plan.claim.endswith(".")


@pytest.mark.parametrize("plan", PLANS)
def test_one_sum_cannot_be_compared_with_anything(plan: AbstractPrivacy) -> None:
    assert plan.num_updates_shown == (1 if plan.sum_terms else None)


def test_sums_of_buckets_can_be_compared() -> None:
    assert SecureSum(kind="secure-sum", buckets=3).num_updates_shown == 3


@pytest.mark.parametrize("plan", PLANS)
def test_no_sum_is_of_fewer_than_three_sites(plan: AbstractPrivacy) -> None:
    assert plan.sum_terms is None or plan.sum_terms.fewest >= 3


def test_of_a_sum_two_sites_at_least_are_honest() -> None:
    assert SecureSum(kind="secure-sum", max_corrupt=2).fewest == 4


@pytest.mark.parametrize("sites", range(3, 200))
def test_a_third_may_be_corrupt_and_every_sum_can_still_begin(sites: int) -> None:
    terms = SumTerms()

    assert terms.most_corrupt(sites) == ((sites - 1) // 3 if sites <= 64 else sites // 20)
    assert terms.most_corrupt(sites) + 2 <= terms.fewest_survivors(sites) <= sites
    assert SumTerms(max_corrupt=0).most_corrupt(sites) == 0


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (SumTerms(), "up to a third of a sum's other sites (of more than 64, a twentieth)"),
        (SumTerms(max_corrupt=2), "The coordinator, also together with up to 2 sites, saw"),
        (SumTerms(max_corrupt=0), "The coordinator saw no single site's"),
    ],
)
def test_the_claim_says_who_may_work_together(terms: SumTerms, said: str) -> None:
    assert said in terms.sum_claim


def test_updates_travel_outside_of_sums_only_where_there_are_sums() -> None:
    with pytest.raises(ValidationError, match=r"alone names \['scan'\], .* and nothing is summed; add"):
        PatientDp(kind="patient-dp", **NOISE, alone=("scan",))


def test_sums_of_two_sites_are_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 3"):
        SecureSum(kind="secure-sum", min_survivors=2)


@pytest.mark.parametrize("plan", PLANS)
def test_a_plan_survives_its_document(plan: AbstractPrivacy) -> None:
    assert TypeAdapter(Privacy).validate_python(plan.to_plain()) == plan


@pytest.mark.parametrize("plan", PLANS)
def test_updates_travel_one_by_one_only_with_noise_or_without_any_promise(plan: AbstractPrivacy) -> None:
    if plan.kind != "no-privacy" and plan.small_groups == "patient-dp":
        assert plan.noise_alone is not None
    if plan.noise_alone is not None:
        assert "differentially private" in plan.claim


def test_every_plan_is_tested() -> None:
    assert {type(plan) for plan in PLANS} == set(get_args(get_args(Privacy)[0]))


@pytest.mark.parametrize(
    "odd",
    [
        {"too_few": "patient-dp"},
        {"too_few": "patient-dp", "alone": ["scan"]},
        {"too_few": "patient-dp", "patient_dp": NoiseTerms(**NOISE)},
        {"too_few": "keep-local", "patient_dp": NoiseTerms(**NOISE)},
        {"too_few": "keep-local", "alone": ["scan"]},
    ],
)
def test_noise_of_small_groups_is_said_wholly_or_not_at_all(odd: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="give all three or none"):
        SecureSum.model_validate({"kind": "secure-sum", **odd})


def test_nobody_gets_a_plan_without_saying_so() -> None:
    for kind in (NoPrivacy, SecureSum, PatientDp):
        with pytest.raises(ValidationError, match="kind\n  Field required"):
            kind.model_validate({})
    with pytest.raises(ValidationError, match="Unable to extract tag"):
        TypeAdapter(Privacy).validate_python({})
