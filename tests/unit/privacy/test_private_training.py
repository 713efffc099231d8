"""DP-SGD does what its promise rests on: who is drawn, how much each may say, and how loud the noise is."""

import math

import numpy as np
import pytest
import torch
from blocks import CONTRACT, TABLE, tiny_block, tiny_cohort
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor, nn

from lego_core import Cohort, LegoBlock, LegoFuse, TrainingSettings
from lego_core.encoders import TimeSeries
from lego_core.errors import PlanError, PrivacyError
from lego_core.privacy import PatientDp
from lego_core.private_training import PrivateTrainer, _trainer, check_per_patient_gradients
from lego_core.private_training._noise import Chance
from lego_core.private_training._patient_gradients import Outer, Whole, clipped_sums
from lego_core.private_training._private_copy import PrivateCopy
from lego_core.records import Inputs, ModalitySchema, Outcome, PatientRecord, Tokens
from lego_core.records import Measurement as Rows
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


# ---- gradients that are never made --------------------------------------------------------------


@st.composite
def gradients_of_two_weights(draw) -> tuple[dict[str, Outer | Whole], np.ndarray]:
    """Gradients of a matrix, as outer products, and of a vector; and the same, patient by patient."""
    patients, inputs, outputs = (draw(st.integers(1, most)) for most in (5, 4, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = 10.0 ** draw(st.integers(-4, 3))
    came, back, bias = (random.normal(size=(patients, width)) * scale for width in (inputs, outputs, outputs))
    matrices = np.stack([np.outer(one, other).ravel() for one, other in zip(back, came, strict=True)])
    held = {"weight": Outer(torch.tensor(came), torch.tensor(back)), "bias": Whole(torch.tensor(bias))}
    return held, np.hstack([matrices, bias])


def test_the_length_of_an_outer_product_is_that_of_the_matrix_however_small_its_factors() -> None:
    """The squares of the inputs vanish in float32; what they make with the signals does not."""
    one = Outer(torch.full((2, 2000), 2.5e-23), torch.full((2, 64), 2e18))
    other = Whole(one.whole())

    torch.testing.assert_close(one.norms(), other.norms())
    (clipped,) = clipped_sums({"weight": one}, num_patients=2, clip_norm=0.01).values()
    assert float(clipped.norm()) == pytest.approx(0.02, rel=1e-3)


def test_a_gradient_of_nothing_has_no_length_and_one_of_no_number_adds_nothing() -> None:
    rows = torch.tensor([[0.0, 0.0], [torch.inf, 1.0], [3.0, 4.0], [torch.nan, 0.0]])

    assert Whole(rows).norms()[[0, 2]].tolist() == [0.0, 5.0]
    sums = clipped_sums({"weight": Whole(rows)}, num_patients=4, clip_norm=10.0)
    assert sums["weight"].tolist() == [3.0, 4.0]


@given(gradients_of_two_weights(), st.floats(1e-3, 1e3))
def test_outer_products_are_clipped_and_added_as_the_matrices_that_they_stand_for(gradients, bound):
    held, apart = gradients
    lengths = np.linalg.norm(apart, axis=1, keepdims=True)

    sums = clipped_sums(held, num_patients=len(apart), clip_norm=bound)

    expected = (apart * np.minimum(1, bound / (lengths + 1e-6))).sum(axis=0)
    told = np.concatenate([sums["weight"].numpy().ravel(), sums["bias"].numpy()])
    np.testing.assert_allclose(told, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        held["weight"].whole().flatten(1).numpy(), apart[:, : -len(sums["bias"])], rtol=1e-12
    )


@pytest.mark.parametrize("odd", [math.inf, -math.inf, math.nan, 1e200])
def test_a_patient_without_a_finite_gradient_adds_nothing(odd):
    def sums(came: Tensor, back: Tensor, bias: Tensor) -> dict[str, Tensor]:
        held = {"weight": Outer(came, back), "bias": Whole(bias)}
        return clipped_sums(held, num_patients=len(came), clip_norm=1.0)

    came, back, bias = (torch.randn(4, width, dtype=torch.float64) for width in (3, 2, 2))
    expected = sums(came[[0]], back[[0]], bias[[0]])

    came[1, 0] = back[2, 1] = bias[3, 0] = odd
    back[1, 0] = came[2, 0] = odd

    told = sums(came, back, bias)
    torch.testing.assert_close(told["weight"], expected["weight"])
    if not math.isfinite(odd):
        torch.testing.assert_close(told["bias"], expected["bias"])


class Layers(nn.Module):
    """Linear layers in three uses: of one row per patient, of several, of one row twice."""

    def __init__(self) -> None:
        super().__init__()
        self.token_dim = 5
        self.row, self.rows, self.twice = nn.Linear(2, 5), nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, inputs: Inputs) -> Tokens:
        tokens = self.rows(self.row(inputs.values[:, 0]).unsqueeze(1).expand(-1, 3, -1))
        values = tokens + self.twice(self.twice(tokens.mean(dim=1)).tanh()).unsqueeze(1)
        return Tokens(values, inputs.present.expand(-1, 3))


def test_a_layer_that_sees_one_row_per_patient_holds_two_vectors_of_each():
    block = LegoBlock("a", Layers(), TABLE, num_outputs=1, contract=CONTRACT)
    batch = tiny_cohort(["a"] * 6).batch()
    private = PrivateCopy(block)

    gradients = private.gradients_of(TASK.loss(logits_of(private.model, batch), batch.outcomes) * 6)

    in_the_encoder = {name: one for name, one in gradients.items() if name.startswith("encoder")}
    assert {name for name, one in in_the_encoder.items() if isinstance(one, Outer)} == {"encoder.row.weight"}
    matrices = sum(weight.nbytes for weight in private.weights.values())
    saved = sum(
        one.whole()[0].nbytes - one.num_bytes // 6 for one in gradients.values() if isinstance(one, Outer)
    )
    assert private.bytes_per_patient == matrices - saved
    check_per_patient_gradients(block, task=TASK)


def test_a_module_that_sees_many_rows_in_parts_is_found_out_while_it_trains(monkeypatch):
    class InParts(nn.Module):
        """Two patients at a time, if there are many rows."""

        def __init__(self) -> None:
            super().__init__()
            self.token_dim, self.linear = 5, nn.Linear(2, 5)

        def forward(self, inputs: Inputs) -> Tokens:
            at_once = 2 if inputs.values.shape[1] > 9 else max(1, len(inputs.values))
            values = torch.cat([self.linear(part) for part in inputs.values.split(at_once)])
            return Tokens(values, inputs.present)

    schema = ModalitySchema(layout="bag", features=("a", "b"))
    block = LegoBlock("a", InParts(), schema, num_outputs=1, contract=CONTRACT)
    draw(monkeypatch, *range(8))
    trainer = PrivateTrainer(block, task=TASK, settings=STEPS, privacy=plan(), device="cpu")

    with pytest.raises(PrivacyError, match=r"'encoder.linear.weight' has gradients of 2 patients, .* has 8"):
        trainer.fit(tiny_cohort(["a"] * 8, rows=12), seed=0)


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
    chosen = Chance.chosen

    def counted(self: Chance, count: int, *, rate: float) -> np.ndarray:
        drawn = chosen(self, count, rate=rate)
        sizes.append(drawn.sum())
        return drawn

    monkeypatch.setattr(Chance, "chosen", counted)

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


class Telltale(nn.Module):
    """Mixes patients if one of them is beyond the others, so that a refusal would tell of this one."""

    def __init__(self) -> None:
        super().__init__()
        self.token_dim, self.linear = 5, nn.Linear(2, 5)

    def forward(self, inputs: Inputs) -> Tokens:
        is_beyond = bool((inputs.values > 9).any())
        values = inputs.values.mean(dim=0, keepdim=True) if is_beyond else 0.0
        return Tokens(self.linear(inputs.values + values), inputs.present)


def test_whether_training_is_refused_tells_nothing_of_the_patients():
    cohort = tiny_cohort(["a"] * 8)
    cohort.records[2].modalities["a"].values.fill_(100.0)
    block = LegoBlock("a", Telltale(), TABLE, num_outputs=1, contract=CONTRACT)

    PrivateTrainer(block, task=TASK, settings=STEPS, privacy=plan(), device="cpu").fit(cohort, seed=0)

    assert all(weight.isfinite().all() for weight in block.parameters())


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
