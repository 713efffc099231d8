"""DP-SGD does what its promise rests on: who is drawn, how much each may say, and how loud the noise is."""

import math

import numpy as np
import pytest
import torch
from blocks import CONTRACT, tiny_block, tiny_cohort
from scipy.stats import kstest
from torch import Tensor, nn

from lego_core import Cohort, LegoBlock, LegoFuse, TrainingSettings
from lego_core.encoders import TimeSeries
from lego_core.errors import PlanError, PrivacyError
from lego_core.privacy import PatientDp
from lego_core.private_training import PrivateTrainer, _trainer
from lego_core.private_training._noise import Chance
from lego_core.private_training._private_copy import PrivateCopy
from lego_core.records import Measurement as Rows
from lego_core.records import ModalitySchema, Outcome, PatientRecord
from lego_core.tasks import MultiLabel
from lego_core.training import logits_of, predict_logits

TASK = MultiLabel(labels=("ill",))
STEPS = TrainingSettings(learning_rate=1.0, weight_decay=0.0, keep="last")
SILENT = 1e-9  # a noise multiplier that nobody hears


def plan(**changes: float) -> PatientDp:
    given = {
        "epsilon": 3.0,
        "noise_multiplier": 1.0,
        "clip_norm": 1.0,
        "batch_size": 4,
        "steps": 1,
        "trains": "everything",
    }
    return PatientDp(kind="patient-dp", **(given | changes))


def drawn(seed: int = 0):
    """Random bytes that come again."""
    return np.random.default_rng(seed).bytes


@pytest.fixture
def plain_steps(monkeypatch) -> None:
    """Gradient descent, in which a step shows its gradient: weights go down by it."""
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, weight_decay: torch.optim.SGD(groups))


def draw(monkeypatch, *patients: int) -> None:
    """Have just these patients take part in every step."""
    monkeypatch.setattr(Chance, "chosen", lambda self, count, *, rate: np.isin(np.arange(count), patients))


def moved(
    cohort: Cohort,
    privacy: PatientDp,
    *,
    settings: TrainingSettings = STEPS,
    seed: int = 0,
    pull: float = 0.0,
) -> dict[str, Tensor]:
    """How far the weights go, times the batch expected: the sum of clipped gradients, and noise."""
    block = tiny_block("a", num_outputs=1)
    before = {name: weight.detach().clone() for name, weight in block.named_parameters()}
    trainer = PrivateTrainer(
        block, task=TASK, settings=settings, privacy=privacy, device="cpu",
        proximal_strength=pull, entropy=drawn(seed),
    )  # fmt: skip
    trainer.fit(cohort, seed=0)
    return {
        name: (before[name] - weight.detach()) * privacy.batch_size
        for name, weight in block.named_parameters()
    }


def vector(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()]).double()


def own_gradient(cohort: Cohort, patient: int) -> Tensor:
    block = tiny_block("a", num_outputs=1)
    batch = cohort.batch([patient])
    TASK.loss(logits_of(block, batch), batch.outcomes).backward()
    return vector({name: weight.grad for name, weight in block.named_parameters()})


# ---- how much each may say ----------------------------------------------------------------------


def test_gradients_are_clipped_patient_by_patient_and_then_added(monkeypatch, plain_steps):
    cohort = tiny_cohort(["a"] * 8)
    draw(monkeypatch, 1, 4, 6)
    bound = float(own_gradient(cohort, 4).norm()) * 0.9

    step = vector(moved(cohort, plan(noise_multiplier=SILENT, clip_norm=bound)))

    gradients = [own_gradient(cohort, patient) for patient in (1, 4, 6)]
    clipped = [gradient * min(1.0, bound / float(gradient.norm())) for gradient in gradients]
    assert 0 < sum(float(gradient.norm()) < bound for gradient in gradients) < 3
    torch.testing.assert_close(step, sum(clipped), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bound", [1e-3, 0.05, 1.0])
def test_no_patient_moves_the_weights_further_than_the_clip_norm(monkeypatch, plain_steps, bound):
    cohort = tiny_cohort(["a"] * 6)
    cohort.records[2].modalities["a"].values.mul_(1e6)
    for patient in range(6):
        draw(monkeypatch, patient)

        step = vector(moved(cohort, plan(noise_multiplier=SILENT, clip_norm=bound)))

        assert float(step.norm()) <= bound * 1.001 + 1e-6


def test_a_batch_in_pieces_is_the_batch(monkeypatch, plain_steps):
    cohort = tiny_cohort(["a"] * 12)
    draw(monkeypatch, *range(11))
    whole = vector(moved(cohort, plan(noise_multiplier=SILENT)))

    monkeypatch.setattr(_trainer, "LARGEST_CHUNK", 3)

    torch.testing.assert_close(
        vector(moved(cohort, plan(noise_multiplier=SILENT))), whole, rtol=1e-3, atol=1e-5
    )


def test_the_sum_is_divided_by_the_batch_expected_not_by_who_came(monkeypatch, plain_steps):
    cohort = tiny_cohort(["a"] * 8)
    draw(monkeypatch, 3)

    small, large = (moved(cohort, plan(noise_multiplier=SILENT, batch_size=size)) for size in (2, 8))

    torch.testing.assert_close(vector(small), vector(large), rtol=1e-3, atol=1e-5)


def test_a_patient_without_a_finite_gradient_adds_nothing():
    private = PrivateCopy(tiny_block("a", num_outputs=1))
    batch = tiny_cohort(["a"] * 4).batch()
    private.backward(TASK.loss(logits_of(private.model, batch), batch.outcomes) * 4)
    weights = list(private.weights.values())
    before = [weight.grad_sample.clone() for weight in weights]
    weights[0].grad_sample[1] = math.inf
    weights[-1].grad_sample[2].view(-1)[0] = math.nan

    private.leave_out_infinite()

    for weight, gradients in zip(weights, before, strict=True):
        assert not weight.grad_sample[[1, 2]].any()
        assert torch.equal(weight.grad_sample[[0, 3]], gradients[[0, 3]])


# ---- how loud the noise is ----------------------------------------------------------------------


def noise_of(monkeypatch, privacy: PatientDp) -> np.ndarray:
    """What steps of nobody do, in clip norms."""
    draw(monkeypatch)
    steps = [vector(moved(tiny_cohort(["a"] * 8), privacy, seed=seed)) for seed in range(12)]
    return torch.cat(steps).numpy() / privacy.clip_norm


@pytest.mark.parametrize(("sigma", "bound"), [(1.0, 1.0), (3.0, 0.1)])
def test_a_step_without_patients_is_noise_of_the_scale_that_was_charged(
    monkeypatch, plain_steps, sigma, bound
):
    noise = noise_of(monkeypatch, plan(noise_multiplier=sigma, clip_norm=bound))

    def looks_like(scale: float) -> bool:
        return kstest(noise, "norm", args=(0, scale)).pvalue > 0.01

    assert len(noise) > 2000
    assert looks_like(sigma)
    assert not looks_like(2 / 3 * sigma)
    assert not looks_like(3 / 2 * sigma)


def test_noise_of_two_weights_and_of_two_steps_has_nothing_in_common():
    noise = Chance(drawn()).normal((4, 20_000), stddev=2.0).numpy()

    assert np.abs(np.corrcoef(noise) - np.eye(4)).max() < 0.03


def test_noise_comes_from_the_machine_and_not_from_the_seed_of_the_run(monkeypatch):
    cohort = tiny_cohort(["a"] * 8)
    draw(monkeypatch)

    def trained() -> Tensor:
        block = tiny_block("a", num_outputs=1)
        torch.manual_seed(0)
        PrivateTrainer(block, task=TASK, settings=STEPS, privacy=plan(), device="cpu").fit(cohort, seed=0)
        return block.trunk.latent.detach()

    assert not torch.equal(trained(), trained())


def test_the_machine_is_asked_for_every_number_it_gives():
    asked = []

    def entropy(count: int) -> bytes:
        asked.append(count)
        return bytes(count)

    assert Chance(entropy).normal((3, 5), stddev=1.0).isfinite().all()
    assert Chance(entropy).chosen(7, rate=0.5).all()
    assert asked == [8 * 15, 8 * 7]


# ---- who is drawn -------------------------------------------------------------------------------


def test_each_patient_is_drawn_with_the_rate_and_batches_have_no_fixed_size():
    chance, rate = Chance(drawn()), 0.2
    chosen = np.stack([chance.chosen(50, rate=rate) for _ in range(4000)])

    assert np.abs(chosen.mean(axis=0) - rate).max() < 5 * math.sqrt(rate * (1 - rate) / 4000)
    assert chosen.sum(axis=1).var() == pytest.approx(50 * rate * (1 - rate), rel=0.1)
    assert np.abs(np.corrcoef(chosen.T) - np.eye(50)).max() < 0.08


def test_steps_that_drew_nobody_are_steps(monkeypatch):
    taken = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: taken.append(1) or step(self))
    sizes = []
    gradients = PrivateTrainer._gradients
    monkeypatch.setattr(
        PrivateTrainer,
        "_gradients",
        lambda self, private, train, patients: (
            sizes.append(len(patients)) or gradients(self, private, train, patients)
        ),
    )

    moved(tiny_cohort(["a"] * 10), plan(batch_size=1, steps=30))

    assert len(taken) == len(sizes) == 30
    assert 5 < sizes.count(0) < 20  # a third of the steps is expected to draw nobody


def test_a_site_with_fewer_patients_than_a_batch_is_told_so_without_its_number():
    with pytest.raises(PrivacyError, match=r"expects 4 patients .* this site has fewer") as raised:
        moved(tiny_cohort(["a"] * 3), plan())

    assert raised.value.local == "3 training patients"
    assert plan().sampling_rate(16) == 0.25


def test_one_patient_cannot_hide():
    with pytest.raises(PrivacyError, match="there is 1 training patient for this model, of at least 2"):
        moved(tiny_cohort(["a"]), plan(batch_size=1))


@pytest.mark.parametrize("value", [math.inf, 1e38, math.nan])
def test_no_value_of_a_patient_decides_whether_there_is_a_training(value):
    cohort = tiny_cohort(["a"] * 8)
    for record in cohort.records[:3]:
        record.modalities["a"].values.fill_(value)

    assert vector(moved(cohort, plan())).isfinite().all()


@pytest.mark.parametrize(("patients", "delta"), [(50, 1e-5), (10_000, 1e-5), (20_000, 5e-6)])
def test_delta_is_well_below_one_over_the_number_of_patients(patients, delta):
    assert plan().delta_for(patients) == pytest.approx(delta)
    assert plan(delta=1e-7).delta_for(patients) == 1e-7


# ---- the rest of the training -------------------------------------------------------------------


def telling_cohort(count: int, *, seed: int) -> Cohort:
    cohort = tiny_cohort(["a"] * count, seed=seed)
    for record in cohort.records:
        record.modalities["a"].values[0, 0] += 3 * record.outcome.values[0]
    return cohort


def test_a_block_learns_through_weak_noise():
    block = tiny_block("a", num_outputs=1)
    trainer = PrivateTrainer(
        block,
        task=TASK,
        settings=TrainingSettings(learning_rate=0.03, keep="mean"),
        privacy=plan(noise_multiplier=0.5, batch_size=40, steps=40),
        device="cpu",
        entropy=drawn(),
    )
    before = scored(block)

    trainer.fit(telling_cohort(160, seed=0), seed=0)

    assert scored(block) > before + 0.1


def scored(block: LegoBlock) -> float:
    logits, outcomes = predict_logits(block, telling_cohort(200, seed=9))
    return TASK.score(TASK.predict(logits), outcomes).value


def test_weights_by_validation_patients_are_refused():
    with pytest.raises(PlanError, match=r"training.keep 'best' .* Set training.keep to 'last' or 'mean'"):
        moved(tiny_cohort(["a"] * 8), plan(), settings=STEPS.model_copy(update={"keep": "best"}))


def test_the_mean_is_that_of_the_steps_of_the_last_epoch(monkeypatch, plain_steps):
    draw(monkeypatch)
    cohort = tiny_cohort(["a"] * 8)  # two batches an epoch

    ends = [vector(moved(cohort, plan(steps=steps))) for steps in (2, 3)]
    mean = moved(cohort, plan(steps=3), settings=STEPS.model_copy(update={"keep": "mean"}))

    torch.testing.assert_close(vector(mean), sum(ends) / 2, rtol=1e-4, atol=1e-4)


def test_the_pull_to_the_start_comes_after_the_noise(monkeypatch, plain_steps):
    draw(monkeypatch)
    cohort = tiny_cohort(["a"] * 8)

    first, free, pulled = (
        vector(moved(cohort, plan(steps=steps), pull=pull)) for steps, pull in ((1, 0.5), (2, 0.0), (2, 0.5))
    )

    torch.testing.assert_close(pulled, free - 0.5 * first, rtol=1e-4, atol=1e-4)


def test_a_trunk_of_rate_zero_stays_where_it_began(plain_steps):
    way = moved(tiny_cohort(["a"] * 8), plan(steps=2), settings=STEPS.model_copy(update={"trunk_rate": 0.0}))

    assert {name for name, step in way.items() if step.any()} == {
        name for name in way if not name.startswith("trunk.")
    }


def test_encoders_alone_take_the_noise_and_the_whole_of_the_clip_norm(monkeypatch, plain_steps):
    cohort = tiny_cohort(["a"] * 8)
    draw(monkeypatch, 3)
    bound = 1e-4

    way = moved(cohort, plan(noise_multiplier=SILENT, clip_norm=bound, trains="encoders"))

    assert {name for name, step in way.items() if step.any()} == {
        "encoder.linear.weight",
        "encoder.linear.bias",
    }
    assert float(vector(way).norm()) == pytest.approx(bound, rel=0.02)


def test_a_model_without_weights_in_its_encoders_has_nothing_to_train():
    block = tiny_block("a", num_outputs=1)
    block.encoder.requires_grad_(False)
    trainer = PrivateTrainer(block, task=TASK, settings=STEPS, privacy=plan(trains="encoders"), device="cpu")

    with pytest.raises(PrivacyError, match=r"no encoder of this model has weights\. Set privacy\.trains to"):
        trainer.fit(tiny_cohort(["a"] * 8), seed=0)


def test_dropout_does_as_it_is_told(monkeypatch, plain_steps):
    cohort = tiny_cohort(["a"] * 8)
    draw(monkeypatch, *range(8))

    def way(*, dropout: bool, seed: int) -> Tensor:
        block = tiny_block("a", contract=CONTRACT.model_copy(update={"dropout": 0.5}), num_outputs=1)
        settings = STEPS.model_copy(update={"dropout": dropout})
        trainer = PrivateTrainer(
            block, task=TASK, settings=settings, privacy=plan(noise_multiplier=SILENT), device="cpu"
        )
        trainer.fit(cohort, seed=seed)
        return vector(dict(block.named_parameters()))

    assert torch.allclose(way(dropout=False, seed=1), way(dropout=False, seed=2), atol=1e-6)
    assert not torch.allclose(way(dropout=True, seed=1), way(dropout=True, seed=2), atol=1e-3)


def test_a_fused_model_is_trained_but_for_the_heads_that_it_does_not_use():
    model = LegoFuse([tiny_block("a", num_outputs=1), tiny_block("b", num_outputs=1)])
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    names = list(model.state_dict())

    trainer = PrivateTrainer(model, task=TASK, settings=STEPS, privacy=plan(steps=2), device="cpu")
    trainer.fit(tiny_cohort(["ab", "a", "ab", "b", "ab"]), seed=0)

    still = {name for name, weight in model.named_parameters() if torch.equal(before[name], weight)}
    assert still == {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert still
    assert list(model.state_dict()) == names
    assert not model.training
    assert not any(hasattr(weight, "grad_sample") for weight in model.parameters())


def test_a_recurrent_encoder_gets_its_weights_back_under_their_names():
    schema = ModalitySchema(layout="series", features=("x", "y"))
    block = LegoBlock(
        "visits", TimeSeries(token_dim=6, num_layers=2), schema, num_outputs=1, contract=CONTRACT
    )
    before = {name: value.clone() for name, value in block.state_dict().items()}
    records = [
        PatientRecord(
            f"p{n}",
            {"visits": Rows(torch.randn(1 + n % 3, 2), torch.arange(1 + n % 3) * 1.0)},
            Outcome((n % 2 * 1.0,)),
        )
        for n in range(8)
    ]

    trainer = PrivateTrainer(block, task=TASK, settings=STEPS, privacy=plan(), device="cpu")
    trainer.fit(Cohort(tuple(records), {"visits": schema}), seed=0)

    after = block.state_dict()
    assert list(after) == list(before)
    assert isinstance(block.encoder.recurrent, nn.GRU)
    assert all(
        not torch.equal(after[name], before[name]) for name in before if not name.startswith("feature_")
    )


def test_chance_of_others_is_left_alone():
    state = torch.get_rng_state()

    moved(tiny_cohort(["a"] * 8), plan())

    assert torch.equal(torch.get_rng_state(), state)
