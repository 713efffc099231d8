"""The local loop: the same weights again, the best epoch back, and every setting does what it says."""

from dataclasses import replace

import pytest
import torch
from blocks import CONTRACT, tiny_block, tiny_cohort
from torch import Tensor, nn

from lego_core import (
    Cohort,
    LegoBlock,
    LegoFuse,
    LegoMerge,
    Measurement,
    TrainingSettings,
    fit_block,
    fit_fused,
)
from lego_core.errors import DataError
from lego_core.records import Batch
from lego_core.statistics import FeatureStatistics
from lego_core.tasks import Classification
from lego_core.training import Epoch, Trainer, choose_device, logits_of, predict_logits

TASK = Classification(classes=("no", "yes", "maybe"))  # three logits
QUICK = TrainingSettings(epochs=3, batch_size=4, learning_rate=0.01)


def telling_cohort(count: int, *, seed: int = 0, modalities: str = "a") -> Cohort:
    """Patients whose class can be seen in their first feature."""
    cohort = tiny_cohort([modalities] * count, seed=seed)
    for record in cohort.records:
        for measurement in record.modalities.values():
            measurement.values[0, 0] += 3 * record.outcome.values[0]
    return cohort


def block_of_three(modality: str = "a", *, dropout: float = 0.0) -> LegoBlock:
    contract = CONTRACT.model_copy(update={"dropout": dropout})
    return tiny_block(modality, contract=contract, num_outputs=3)


def trained(settings: TrainingSettings = QUICK, *, seed: int = 0, dropout: float = 0.0) -> dict[str, Tensor]:
    block = block_of_three(dropout=dropout)
    fit_block(block, telling_cohort(20), task=TASK, settings=settings, seed=seed, device="cpu")
    return block.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


# ---- again, from a seed -------------------------------------------------------------------------


def test_same_seed_gives_the_same_weights():
    assert same(trained(seed=5, dropout=0.3), trained(seed=5, dropout=0.3))


def test_another_seed_gives_other_weights():
    assert not same(trained(seed=5), trained(seed=6))


def test_randomness_of_the_caller_neither_matters_nor_changes():
    torch.manual_seed(1)
    first = trained(dropout=0.3)
    torch.manual_seed(2)
    before = torch.get_rng_state()

    second = trained(dropout=0.3)

    assert same(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_patients_and_their_parts_are_left_as_they_were():
    cohort = telling_cohort(8)
    before = [record.modalities["a"].values.clone() for record in cohort.records]

    fit_block(block_of_three(), cohort, task=TASK, settings=QUICK, device="cpu")

    assert all(
        torch.equal(record.modalities["a"].values, values)
        for record, values in zip(cohort.records, before, strict=True)
    )
    assert {record.part for record in cohort.records} == {None}


# ---- learning ------------------------------------------------------------------------------------


def test_loss_falls():
    epochs: list[Epoch] = []
    settings = QUICK.model_copy(update={"epochs": 20})

    fit_block(
        block_of_three(),
        telling_cohort(40),
        task=TASK,
        settings=settings,
        device="cpu",
        on_epoch=epochs.append,
    )

    assert [epoch.number for epoch in epochs] == list(range(1, 21))
    assert epochs[-1].train_loss < 0.5 * epochs[0].train_loss
    assert {epoch.validation_loss for epoch in epochs} == {None}


def test_block_learns_what_can_be_seen():
    block, settings = block_of_three(), QUICK.model_copy(update={"epochs": 25})

    fit_block(block, telling_cohort(60), task=TASK, settings=settings, device="cpu")

    logits, outcomes = predict_logits(block, telling_cohort(60, seed=1))
    assert TASK.score(TASK.predict(logits), outcomes).value > 0.95


def test_block_takes_the_means_and_spreads_of_its_training_patients():
    cohort, block = telling_cohort(12), block_of_three()

    fit_block(block, cohort, telling_cohort(9, seed=3), task=TASK, settings=QUICK, device="cpu")

    expected = FeatureStatistics.of(cohort.marked("train"), "a").normalisation()
    assert torch.equal(block.feature_mean, expected.mean)
    assert torch.equal(block.feature_stddev, expected.stddev)


def test_patients_without_the_modality_take_no_part():
    both = tiny_cohort(["a", "b", "ab", "b", "a"])
    one, other = block_of_three(), block_of_three()

    fit_block(one, both, task=TASK, settings=QUICK, device="cpu")
    fit_block(other, both.holding("a"), task=TASK, settings=QUICK, device="cpu")

    assert same(one.state_dict(), other.state_dict())


def test_other_modalities_are_not_read_and_change_nothing():
    own, both = (tiny_cohort([held] * 8) for held in ("a", "ab"))
    crowded = both.keep(
        replace(record, modalities={**mine.modalities, "b": Measurement(torch.zeros(1, 3 + number))})
        for number, (record, mine) in enumerate(zip(both.records, own.records, strict=True))
    )  # widths that no batch could hold
    one, other = block_of_three(), block_of_three()

    fit_block(one, crowded, crowded, task=TASK, settings=QUICK, device="cpu")
    fit_block(other, own, own, task=TASK, settings=QUICK, device="cpu")

    assert same(one.state_dict(), other.state_dict())


def test_model_is_left_ready_to_predict():
    block = block_of_three()

    assert fit_block(block, telling_cohort(8), task=TASK, settings=QUICK, device="cpu") is block
    assert not block.training


def test_cohort_without_the_modality_is_refused():
    with pytest.raises(
        DataError, match=r"^There is no training patient for this model\. Check which modality"
    ):
        fit_block(block_of_three(), tiny_cohort(["b"]), task=TASK, settings=QUICK, device="cpu")


def test_empty_cohort_is_refused():
    trainer = Trainer(block_of_three(), task=TASK, settings=QUICK, device="cpu")

    with pytest.raises(DataError, match=r"^There is no training patient for this model"):
        trainer.fit(telling_cohort(3).keep([]), seed=0)


# ---- early stopping ---------------------------------------------------------------------------------


def contrary(cohort: Cohort) -> Cohort:
    """Patients of whom the opposite is true, so that learning only makes things worse."""
    records = [
        replace(record, outcome=replace(record.outcome, values=(1 - record.outcome.values[0],)))
        for record in cohort.records
    ]
    return cohort.keep(records)


def test_best_epoch_comes_back():
    cohort, validation = telling_cohort(30), telling_cohort(20, seed=1)
    settings = QUICK.model_copy(update={"epochs": 12, "learning_rate": 0.1, "patience": 12})
    block, epochs = block_of_three(), []

    fit_block(block, cohort, validation, task=TASK, settings=settings, device="cpu", on_epoch=epochs.append)

    logits, outcomes = predict_logits(block, validation)
    assert float(TASK.loss(logits, outcomes)) == min(epoch.validation_loss for epoch in epochs)


def test_training_stops_when_waiting_no_longer_helps():
    settings = QUICK.model_copy(update={"epochs": 50, "patience": 3, "learning_rate": 0.05})
    cohort, epochs = telling_cohort(30), []

    fit_block(
        block_of_three(), cohort, contrary(cohort), task=TASK, settings=settings, device="cpu",
        on_epoch=epochs.append,
    )  # fmt: skip

    losses = [epoch.validation_loss for epoch in epochs]
    assert len(epochs) < 50
    assert len(epochs) == losses.index(min(losses)) + 1 + 3


def test_validation_patients_do_not_change_what_is_learned_in_an_epoch():
    settings = QUICK.model_copy(update={"epochs": 1})
    one, other = block_of_three(dropout=0.3), block_of_three(dropout=0.3)

    fit_block(one, telling_cohort(20), task=TASK, settings=settings, device="cpu")
    fit_block(
        other, telling_cohort(20), telling_cohort(9, seed=2), task=TASK, settings=settings, device="cpu"
    )

    assert same(one.state_dict(), other.state_dict())


def test_empty_validation_is_no_validation():
    cohort, epochs = telling_cohort(8), []

    fit_block(
        block_of_three(), cohort, cohort.keep([]), task=TASK, settings=QUICK, device="cpu",
        on_epoch=epochs.append,
    )  # fmt: skip

    assert [epoch.validation_loss for epoch in epochs] == [None] * 3


# ---- settings -----------------------------------------------------------------------------------------


def test_gradients_of_several_batches_are_those_of_one_large_one():
    small = QUICK.model_copy(update={"batch_size": 4, "gradient_accumulation": 3})
    large = QUICK.model_copy(update={"batch_size": 12})

    torch.testing.assert_close(trained(small), trained(large), rtol=1e-4, atol=1e-5)


def test_gradient_is_clipped():
    settings = QUICK.model_copy(update={"epochs": 1, "batch_size": 32, "clip_gradient": 1e-3})
    block = block_of_three()
    trainer = Trainer(block, task=TASK, settings=settings, device="cpu")

    trainer.fit(telling_cohort(20).marked("train"), seed=0)

    norm = torch.stack([weight.grad.norm() for weight in trainer.weights if weight.grad is not None]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def way_gone(strength: float) -> float:
    """How far a block goes in some epochs, pulled back to its start or not."""
    block = block_of_three()
    settings = QUICK.model_copy(update={"epochs": 8, "learning_rate": 0.02, "weight_decay": 0.0})
    trainer = Trainer(block, task=TASK, settings=settings, device="cpu", proximal_strength=strength)
    trainer.fit(telling_cohort(20).marked("train"), seed=0)
    steps = [weight.detach() - start for weight, start in zip(trainer.weights, trainer.start, strict=True)]
    return float(torch.cat([step.flatten() for step in steps]).norm())


def test_the_stronger_the_pull_the_shorter_the_way():
    ways = [way_gone(strength) for strength in (0.0, 1.0, 100.0)]

    assert ways[0] > ways[1] > ways[2]


def test_pull_is_the_gradient_of_half_the_squared_distance():
    block = block_of_three()
    trainer = Trainer(block, task=TASK, settings=QUICK, device="cpu", proximal_strength=0.5)
    with torch.no_grad():
        for weight in trainer.weights:
            weight.add_(1.0)
            weight.grad = torch.zeros_like(weight)

    trainer._pull_to_start()

    for weight in trainer.weights:
        torch.testing.assert_close(weight.grad, torch.full_like(weight, 0.5))


def test_frozen_weights_stay():
    block = block_of_three()
    block.trunk.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in block.trunk.state_dict().items()}

    fit_block(block, telling_cohort(8), task=TASK, settings=QUICK, device="cpu")

    assert same(before, block.trunk.state_dict())


def test_bf16_trains_and_keeps_float32_weights():
    if not torch.cuda.is_available():
        pytest.skip("autocast to bfloat16 is used on CUDA devices only, and there is none here")
    block, settings = block_of_three(), QUICK.model_copy(update={"epochs": 20})

    fit_block(block, telling_cohort(40), task=TASK, settings=settings, device="cuda")

    logits, outcomes = predict_logits(block, telling_cohort(40, seed=1))
    assert {weight.dtype for weight in block.parameters()} == {torch.float32}
    assert TASK.score(TASK.predict(logits), outcomes).value > 0.8


def test_bf16_changes_nothing_on_the_cpu():
    on, off = (trained(QUICK.model_copy(update={"bf16": wish})) for wish in (True, False))

    assert same(on, off)


# ---- devices ------------------------------------------------------------------------------------------


def test_device_is_the_one_wished_for():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("cuda") == torch.device("cuda")


def test_device_that_suits_is_one_that_is_there():
    device = choose_device("auto")

    assert torch.ones(2, device=device).sum() == 2
    assert (device.type == "cuda") == torch.cuda.is_available()


def test_model_comes_back_to_the_cpu():
    block = block_of_three()

    fit_block(block, telling_cohort(8), task=TASK, settings=QUICK)

    assert {weight.device.type for weight in block.parameters()} == {"cpu"}


# ---- fused ----------------------------------------------------------------------------------------------


def test_fused_model_is_trained_and_its_blocks_are_not():
    blocks = [block_of_three("a"), block_of_three("b")]
    before = [{name: tensor.clone() for name, tensor in block.state_dict().items()} for block in blocks]
    fused, epochs = LegoFuse(blocks), []
    settings = QUICK.model_copy(update={"epochs": 15})

    given_back = fit_fused(
        fused, telling_cohort(40, modalities="ab"), task=TASK, settings=settings, device="cpu",
        on_epoch=epochs.append,
    )  # fmt: skip

    assert given_back is fused
    assert epochs[-1].train_loss < 0.7 * epochs[0].train_loss
    assert all(same(block.state_dict(), state) for block, state in zip(blocks, before, strict=True))


def test_fused_model_keeps_its_normalisation():
    fused = LegoFuse([block_of_three("a"), block_of_three("b")])

    fit_fused(fused, telling_cohort(8, modalities="ab"), task=TASK, settings=QUICK, device="cpu")

    assert torch.equal(fused.blocks["a"].feature_mean, torch.zeros(2))


# ---- prediction ------------------------------------------------------------------------------------------


def test_logits_do_not_depend_on_how_many_patients_come_at_once():
    block, cohort = block_of_three(), telling_cohort(7)

    at_once, _ = predict_logits(block, cohort)
    by_twos, outcomes = predict_logits(block, cohort, batch_size=2)

    torch.testing.assert_close(at_once, by_twos)
    assert torch.equal(outcomes, cohort.batch().outcomes)


def test_logits_of_every_kind_of_model():
    blocks = [block_of_three("a"), block_of_three("b")]
    batch = telling_cohort(3, modalities="ab").batch()

    for model in (blocks[0], LegoMerge(blocks), LegoFuse(blocks)):
        assert logits_of(model, batch).shape == (3, 3)


def test_prediction_ends_dropout():
    block = block_of_three(dropout=0.5).train()
    cohort = telling_cohort(4)

    assert torch.equal(predict_logits(block, cohort)[0], predict_logits(block, cohort)[0])


def test_training_without_dropout_is_that_of_a_block_which_drops_nothing() -> None:
    without = QUICK.model_copy(update={"dropout": False})

    assert same(trained(without, dropout=0.5), trained(QUICK, dropout=0.0))
    assert not same(trained(QUICK, dropout=0.5), trained(QUICK, dropout=0.0))


def test_a_model_drops_again_what_it_dropped_after_a_training_without() -> None:
    plain, alpha = nn.Dropout(0.5), nn.AlphaDropout(0.25)
    recurrent = nn.GRU(1, 1, num_layers=2, dropout=0.75)
    during: list[float] = []

    class Listening(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([plain, alpha, recurrent])
            self.logit = nn.Parameter(torch.zeros(1, 3))

        def forward(self, batch: Batch) -> Tensor:
            during.extend(shares())
            return self.logit.expand(len(batch), 3)

    def shares() -> list[float]:
        return [plain.p, alpha.p, recurrent.dropout]

    for stays, expected in {True: [0.5, 0.25, 0.75], False: [0.0, 0.0, 0.0]}.items():
        during.clear()
        settings = TrainingSettings(epochs=1, dropout=stays)
        Trainer(Listening(), task=TASK, settings=settings, device="cpu").fit(telling_cohort(4), seed=0)
        assert during == expected
        assert shares() == [0.5, 0.25, 0.75]


def test_a_loss_that_is_given_is_minimised_in_place_of_that_of_the_task() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logit = nn.Parameter(torch.zeros(1))

        def forward(self, batch: Batch) -> Tensor:
            return self.logit.expand(len(batch), 1)

    patients = tiny_cohort(["a"] * 8)
    model = Constant()
    settings = TrainingSettings(epochs=200, learning_rate=0.1, weight_decay=0.0)
    Trainer(model, task=TASK, settings=settings, loss=lambda logits, _: (logits - 3).square().mean()).fit(
        patients, seed=0
    )

    assert model.logit.item() == pytest.approx(3, abs=0.01)


def test_the_last_weights_stay_if_the_settings_keep_them() -> None:
    cohort = telling_cohort(20)
    settings = QUICK.model_copy(update={"keep": "last", "epochs": 6, "patience": 1})
    judged, alone = block_of_three(), block_of_three()

    fit_block(judged, cohort, contrary(cohort), task=TASK, settings=settings, device="cpu")
    fit_block(alone, cohort, task=TASK, settings=settings, device="cpu")

    assert same(judged.state_dict(), alone.state_dict())


def test_the_mean_of_the_weights_is_that_after_each_step_of_the_last_epoch() -> None:
    class Walking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.zeros(1, 3))

        def forward(self, batch: Batch) -> Tensor:
            seen.append(self.place[0, 0].item())
            return self.place.expand(len(batch), 3)

    def walked(keep: str) -> float:
        seen.clear()
        model = Walking()
        settings = QUICK.model_copy(update={"keep": keep, "epochs": 2, "weight_decay": 0.0})
        trainer = Trainer(
            model, task=TASK, settings=settings, device="cpu", loss=lambda logits, _: -logits[:, 0].mean()
        )
        trainer.fit(telling_cohort(12), seed=0)
        return model.place[0, 0].item()

    seen: list[float] = []

    end = walked("last")
    after_every_step = [*seen[1:], end]  # three batches of four in each of two epochs
    assert len(after_every_step) == 6
    assert walked("mean") == pytest.approx(sum(after_every_step[3:]) / 3)


def test_a_trunk_of_rate_zero_stays_where_it_began_and_the_rest_learns() -> None:
    start = block_of_three().state_dict()

    end = trained(QUICK.model_copy(update={"trunk_rate": 0.0}))

    trunk = {name for name in start if name.startswith("trunk.")}
    assert all(torch.equal(start[name], end[name]) for name in trunk)
    assert not same({n: start[n] for n in start.keys() - trunk - {"feature_mean", "feature_stddev"}}, end)


def test_a_slow_trunk_goes_a_shorter_way() -> None:
    start = block_of_three().state_dict()

    def way(rate: float) -> float:
        end = trained(QUICK.model_copy(update={"trunk_rate": rate}))
        return sum(float((end[name] - start[name]).norm()) for name in start if name.startswith("trunk."))

    assert 0 < way(0.1) < 0.5 * way(1.0)


def test_trunks_of_a_fused_model_are_slow_too() -> None:
    def way(rate: float) -> float:
        fused = LegoFuse([block_of_three("a"), block_of_three("b")])
        start = {name: weight.detach().clone() for name, weight in fused.named_parameters()}
        slow = QUICK.model_copy(update={"trunk_rate": rate})
        fit_fused(fused, telling_cohort(8, modalities="ab"), task=TASK, settings=slow, device="cpu")
        end = fused.state_dict()
        return sum(float((end[name] - start[name]).norm()) for name in start if ".trunk." in name)

    assert 0 < way(0.1) < 0.5 * way(1.0)
