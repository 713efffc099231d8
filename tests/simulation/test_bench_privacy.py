"""The attacks find what was planted, and nothing where there is nothing."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm
from sklearn.metrics import roc_auc_score, roc_curve

from lego_core.datasets import Synthetic
from lego_core.datasets._synthetic_modalities import SyntheticTable
from lego_core.datasets._synthetic_outcomes import SyntheticClass
from lego_core.encoders import Tabular
from lego_core.errors import PrivacyError
from lego_core.plan import ModalityPlan
from lego_core.training import Trainer, TrainingSettings
from lego_core.trunk import LatentContract
from lego_core.update import BlockUpdate
from simulations.benchmarks.default_plan import default_plan
from simulations.benchmarks.privacy import canaries, counting, membership
from simulations.benchmarks.privacy.canaries import Guessed, look_for_canaries
from simulations.benchmarks.privacy.inversion import Step, invert, undo_adam
from simulations.benchmarks.privacy.noised import NoisedAtTheSite
from simulations.benchmarks.privacy.patients import Patients, halves
from simulations.benchmarks.privacy.protections import Course, NoProtection, OnlyTheSum, sum_of_residues

LEARNS_BY_HEART = TrainingSettings(
    learning_rate=3e-3, weight_decay=0.0, dropout=False, keep="last", epochs=120, batch_size=64
)


@cache
def patients(rounds: int = 2, epochs: int = 1) -> Patients:
    """A wide table, a fair die for an outcome, and a small block that drops nothing."""
    dataset = Synthetic(
        patients=160,
        outcome=SyntheticClass(classes=5),
        modalities={"wide": SyntheticTable(features=60, strength=0.0)},
    )
    cohort = dataset.load()
    plan = default_plan("tiny", dataset, cohort)
    few = plan.rounds.model_copy(update={"rounds": rounds, "local_epochs": epochs})
    encoder = Tabular(hidden_dims=(32,), token_dim=16, num_tokens=2, squares=False)
    plan = plan.model_copy(
        update={
            "rounds": few, "training": LEARNS_BY_HEART, "modalities": {"wide": ModalityPlan(encoder=encoder)},
            "latent": LatentContract(num_latents=2, latent_dim=16, num_heads=2, depth=1),
        }
    )  # fmt: skip
    public, pool = (cohort.keep(part).marked("train") for part in (cohort.records[:40], cohort.records[40:]))
    return Patients(plan, plan.task.agree(plan.task.summarise(public)), pool, public)


@given(st.integers(0, 10_000))
def test_the_area_of_a_resample_is_that_of_the_patients_drawn(seed):
    rng = np.random.default_rng(seed)
    scores, member = rng.integers(6, size=30) / 5, rng.permutation(30) < 12
    drawn = rng.multinomial(30, np.full(30, 1 / 30), size=3)

    areas = counting.area(scores, member, drawn.astype(float))

    for weights, found in zip(drawn, areas, strict=True):
        assert found == pytest.approx(roc_auc_score(member, scores, sample_weight=weights), abs=1e-12)


def test_the_rate_at_few_alarms_is_read_off_the_curve():
    rng = np.random.default_rng(0)
    member = rng.random(2000) < 0.5
    scores = rng.normal(size=2000) + member
    alarms, found, _ = roc_curve(member, scores, drop_intermediate=False)

    rate = counting.rate_at_few_alarms(scores, member, np.ones((1, 2000)))

    assert rate == pytest.approx(found[alarms <= 0.01].max())


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (61, 100)])
def test_the_bound_on_a_share_is_that_of_scipy(successes, trials):
    exact = binomtest(successes, trials, alternative="greater").proportion_ci(0.95, method="exact")

    assert counting.least_share(successes, trials) == pytest.approx(exact.low)


def test_areas_within_groups_compare_nobody_across_groups():
    scores, member = np.array([1.0, 0.0]), np.array([True, False])

    found = counting.area_within([(scores, member), (scores - 10, member)], seed=0)

    assert found.value == 1.0


@given(st.integers(4, 40), st.integers(1, 5), st.integers(0, 100))
def test_whatever_pair_is_set_aside_everybody_is_in_half_of_the_other_models(people, pairs, seed):
    member = halves(people, pairs=pairs, seed=seed)

    assert (member[0::2] == ~member[1::2]).all()
    assert (member.sum(axis=1) // 2 == people // 2 // 2).all() or people % 2
    for pair in range(pairs):
        others = np.delete(member, [2 * pair, 2 * pair + 1], axis=0)
        assert (others.sum(axis=0) == pairs - 1).all()


def test_confidence_is_the_logit_of_the_likelihood():
    likelihood = np.array([[0.01, 0.5, 0.93]])

    said = membership.confidence(-np.log(likelihood))

    assert said == pytest.approx(np.log(likelihood / (1 - likelihood)))


def test_the_likelihood_ratio_is_the_one_worked_out_by_hand():
    rng = np.random.default_rng(1)
    member = halves(4, pairs=3, seed=0)
    said = rng.normal(size=(6, 4))
    seen = membership.Losses(np.log1p(np.exp(-said)), member)

    scores = membership.likelihood_ratio(seen)

    shadows = [0, 1, 4, 5]  # all but the pair of model 2
    inside = [[said[m, p] for m in shadows if member[m, p]] for p in range(4)]
    outside = [[said[m, p] for m in shadows if not member[m, p]] for p in range(4)]
    spreads = [math.sqrt(np.mean([np.var(each, ddof=1) for each in side])) for side in (inside, outside)]
    for person in range(4):
        with_patient = norm(np.mean(inside[person]), spreads[0]).logpdf(said[2, person])
        without = norm(np.mean(outside[person]), spreads[1]).logpdf(said[2, person])
        assert scores[2, person] == pytest.approx(with_patient - without)


def test_a_model_that_learns_by_heart_is_found_out():
    own = patients()
    block, members = own.untrained("wide"), own.pool.keep(own.pool.records[:60])
    Trainer(block, task=own.task, settings=LEARNS_BY_HEART, device="cpu").fit(members, seed=0)
    who = (np.arange(len(own.pool)) < 60)[None]

    losses = membership.losses_of(block, own.pool, task=own.task)[None]
    scores = membership.loss_threshold(membership.Losses(losses, who))

    assert counting.area_over_models(scores, who, seed=0).low > 0.8


def test_a_model_that_learned_nothing_gives_nobody_away():
    own = patients()
    who = (np.arange(len(own.pool)) < 60)[None]

    losses = membership.losses_of(own.untrained("wide"), own.pool, task=own.task)[None]
    found = counting.area_over_models(-losses, who, seed=0)

    assert found.low < 0.5 < found.high


def test_one_patient_can_be_read_from_an_open_update_and_not_from_a_noised_one():
    own = patients()
    arguments = {"patients": own, "trials": 3, "seed": 0}

    found = {
        protection.name: invert(own.untrained("wide"), Step(1), protection=protection, **arguments)
        for protection in (NoProtection(), OnlyTheSum(), NoisedAtTheSite(1.0, label="noised"))
    }

    assert found["no-privacy"].found.low > 0.99
    assert found["no-privacy"].strangers.high < 0.5
    assert found["secure-sum"].found.value < 0.9
    assert found["noised"].lead.low < 0.05


def test_a_step_of_adam_can_be_undone():
    weights = torch.zeros(200, requires_grad=True)
    gradient = torch.randn(200, generator=torch.Generator().manual_seed(0)) * 1e-4
    optimiser = torch.optim.AdamW([weights], lr=1e-3, weight_decay=0.01)
    weights.grad = gradient.clone()
    optimiser.step()

    undone = undo_adam(weights.detach().double(), learning_rate=1e-3)

    assert torch.nn.functional.cosine_similarity(-undone, gradient.double(), dim=0) > 0.999
    assert torch.nn.functional.cosine_similarity(-weights.detach(), gradient, dim=0) < 0.9


def test_the_server_sees_a_sum_that_is_right_and_nothing_else():
    rng = np.random.default_rng(0)
    updates = [
        BlockUpdate(torch.from_numpy(rng.normal(0, 0.01, 50)) * weight, weight)
        for weight in (20.0, 30.0, 50.0)
    ]

    seen = OnlyTheSum().seen(updates)

    assert len(seen) == 1
    assert seen[0].weight == pytest.approx(100, abs=1e-4)
    torch.testing.assert_close(seen[0].mean(), sum(updates, BlockUpdate.zero(50)).mean(), atol=2**-24, rtol=0)
    with pytest.raises(PrivacyError, match="A sum over 2 sites shows each of them the others', and 3 are"):
        sum_of_residues(updates[:2])


def test_noise_within_a_budget_spends_all_of_it_and_no_more():
    course = Course(
        site_patients=60, settings=LEARNS_BY_HEART.model_copy(update={"batch_size": 16}), rounds=2
    )

    promised = NoisedAtTheSite.within(5.0, course).promised(course)

    assert 4.9 < promised.epsilon <= 5.0
    assert promised.delta == 1e-5


def test_without_a_delta_the_least_epsilon_is_the_logit_of_the_bound():
    share = counting.least_share(85, 100)

    assert canaries.least_epsilon(Guessed(200, 100, 85, members=300), delta=0.0) == pytest.approx(
        math.log(share / (1 - share))
    )
    assert canaries.least_epsilon(Guessed(200, 100, 55, members=300), delta=0.0) == 0.0


@pytest.mark.parametrize(("right", "delta"), [(85, 1e-5), (100, 1e-3), (70, 1e-2)])
def test_a_delta_leaves_a_smaller_epsilon_which_is_just_ruled_out(right, delta):
    found = Guessed(200, 100, right, members=300)

    least = canaries.least_epsilon(found, delta=delta)

    assert least <= canaries.least_epsilon(found, delta=0.0)
    assert _chance_by_the_paper(found, least - 1e-3, delta) <= 0.05 or least == 0.0
    assert _chance_by_the_paper(found, least + 1e-3, delta) > 0.05


def _chance_by_the_paper(found: Guessed, epsilon: float, delta: float) -> float:
    """Algorithm of the appendix of arXiv:2305.08846, step by step."""
    share = 1 / (1 + math.exp(-epsilon))
    largest = total = 0.0
    for number in range(1, found.right + 1):
        total += binom.pmf(found.right - number, found.guesses, share)
        largest = max(largest, total / number)
    return binom.sf(found.right - 1, found.guesses, share) + 2 * found.canaries * delta * largest


def test_canaries_are_found_in_a_training_without_noise_and_not_in_a_noised_one():
    own = patients(rounds=6, epochs=6)
    arguments = {"patients": own, "canaries": 80, "seed": 1}

    openly = look_for_canaries("wide", protection=NoProtection(), **arguments)
    few = patients(rounds=1, epochs=2)
    noised = look_for_canaries(
        "wide", protection=NoisedAtTheSite(20.0, label="noised"), **{**arguments, "patients": few}
    )

    assert canaries.least_epsilon(openly, delta=0.0) > 0.5
    assert canaries.least_epsilon(noised, delta=1e-5) == 0.0
