"""The test before private training: gradients of patients are the patients', or the module is named."""

import copy
from collections.abc import Callable

import pytest
import torch
from blocks import CONTRACT, TABLE, tiny_block
from torch import Tensor, nn
from torch.nn import functional

from lego_core import Cohort, LegoBlock, LegoFuse, Measurement, ModalitySchema, Outcome, PatientRecord
from lego_core.encoders import Image, Patches, Tabular, TimeSeries
from lego_core.errors import PrivacyError
from lego_core.private_training import _private_copy, check_per_patient_gradients
from lego_core.private_training._made_up import begin_anew, made_up_patients
from lego_core.private_training._private_copy import PrivateCopy
from lego_core.records import Inputs, Tokens
from lego_core.statistics import Normalisation
from lego_core.tasks import Classification, MultiLabel, Survival
from lego_core.trunk import LatentContract

TASK = MultiLabel(labels=("ill",))
SCHEMAS = {
    "blood": ModalitySchema(layout="table", features=("a", "b", "c")),
    "visits": ModalitySchema(layout="series", features=("a", "b", "c")),
    "slides": ModalitySchema(layout="bag", features=("a", "b", "c")),
    "scan": ModalitySchema(layout="image", features=("a", "b", "c"), grid=(4, 5)),
}
ROWS = {"blood": (1,), "visits": (3, 1, 6), "slides": (5, 2), "scan": (20,)}
HELD = [
    ("blood",),
    ("blood", "visits", "slides", "scan"),
    ("visits", "slides"),
    ("scan",),
    ("slides", "blood"),
]


def hospital(held: list[tuple[str, ...]] = HELD) -> Cohort:
    generator = torch.Generator().manual_seed(1)
    records = []
    for number, names in enumerate(held):
        measured = {}
        for name in names:
            rows = ROWS[name][number % len(ROWS[name])]
            values = torch.randn(rows, 3, generator=generator)
            values[torch.rand(rows, 3, generator=generator) < 0.2] = torch.nan
            measured[name] = Measurement(values, torch.arange(rows) * 1.0 if name == "visits" else None)
        records.append(PatientRecord(f"p{number}", measured, Outcome((float(number % 2),))))
    return Cohort(tuple(records), SCHEMAS)


def fused(order: str, contract: LatentContract = CONTRACT) -> LegoFuse:
    encoders = {
        "blood": Tabular(dropout=0, input_dropout=0),
        "visits": TimeSeries(num_layers=2, dropout=0),
        "slides": Patches(dropout=0),
        "scan": Image(dropout=0),
    }
    blocks = [
        LegoBlock(name, encoder, SCHEMAS[name], num_outputs=1, contract=contract)
        for name, encoder in encoders.items()
    ]
    return LegoFuse(blocks, order=order)


# ---- what works ---------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["stack", "weave"])
def test_a_fused_model_with_absent_modalities_tells_the_gradients_that_autograd_tells_one_by_one(order):
    model, cohort = fused(order), hospital()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))
    private = PrivateCopy(model.train())
    batch = cohort.batch()

    private.backward(TASK.loss(private.model(batch), batch.outcomes) * len(batch))

    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert private.weights.keys() == weights.keys()
    for row in range(len(cohort)):
        alone = cohort.batch([row])
        loss = TASK.loss(model(alone), alone.outcomes)
        expected = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for (name, weight), gradient in zip(weights.items(), expected, strict=True):
            told = private.weights[name].grad_sample
            assert told.shape == (len(cohort), *weight.shape), name
            wanted = torch.zeros_like(weight) if gradient is None else gradient
            torch.testing.assert_close(
                told[row], wanted, rtol=2e-3, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
            )


@pytest.mark.parametrize(
    "contract",
    [
        {"share_weights": False},
        {"depth": 3, "phase": "dropped"},
        {"domain": "signal", "residual": False},
        {"dropout": 0.5},
    ],
)
def test_every_kind_of_trunk_can_be_told_apart(contract):
    block = tiny_block("a", num_outputs=3, contract=CONTRACT.model_copy(update=contract))

    check_per_patient_gradients(block, task=Classification(classes=("no", "yes", "x")))


@pytest.mark.parametrize(
    "task",
    [
        Survival(num_bins=3, bin_edges_days=(1.0, 3.0)),
        Classification(classes=("no", "yes"), class_weights=(1.0, 7.0)),
        Classification(classes=("a", "b", "c")),
        MultiLabel(labels=("x", "y")),
    ],
)
def test_the_loss_of_every_task_is_a_mean_over_patients(task):
    check_per_patient_gradients(tiny_block("a", num_outputs=task.num_outputs), task=task)


@pytest.mark.parametrize("order", ["stack", "weave"])
def test_a_fused_model_of_every_layout_passes(order):
    check_per_patient_gradients(fused(order), task=TASK)


def test_the_test_leaves_model_and_chance_as_they_were():
    model, state = fused("stack"), torch.get_rng_state()
    before = copy.deepcopy(model.state_dict())

    check_per_patient_gradients(model, task=TASK)

    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(hasattr(weight, "grad_sample") for weight in model.parameters())


@pytest.mark.parametrize("order", ["stack", "weave"])
def test_patients_who_pass_together_get_the_answers_they_get_apart(order):
    model, batch = fused(order).eval(), hospital().batch()

    apart = model(batch)
    model.patients_together = True

    torch.testing.assert_close(model(batch), apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("together", [False, True])
def test_blocks_and_fused_models_take_an_empty_batch(together):
    nobody = torch.zeros(5, dtype=torch.bool)
    batch = hospital().batch()
    batch = type(batch)(
        {name: part.select(nobody) for name, part in batch.inputs.items()}, batch.outcomes[nobody]
    )
    model = fused("stack").train()
    model.patients_together = together

    assert model(batch).shape == (0, 1)
    for name, block in model.blocks.items():
        assert block(batch.inputs[name]).shape == (0, 1)


# ---- patients who do not exist ------------------------------------------------------------------


def test_made_up_patients_of_a_fused_model_hold_all_modalities_all_but_one_and_one_alone():
    cohort = made_up_patients(fused("stack"), TASK)

    held = {frozenset(record.modalities) for record in cohort.records}
    every = frozenset(SCHEMAS)
    assert held == {every} | {frozenset({name}) for name in every} | {every - {name} for name in every}
    assert dict(cohort.schemas) == SCHEMAS
    for name, schema in SCHEMAS.items():
        measured = [record.modalities[name] for record in cohort.holding(name).records]
        rows = {len(one.values) for one in measured}
        assert rows == {"table": {1}, "image": {20}}.get(schema.layout, rows)
        assert schema.layout in {"table", "image"} or len(rows) >= 3
        assert all((one.times_days is not None) == (schema.layout == "series") for one in measured)
        assert any(one.values.isnan().any() for one in measured)


@pytest.mark.parametrize(
    ("task", "kinds"),
    [
        (Survival(num_bins=3, bin_edges_days=(1.0, 3.0)), 6),
        (Classification(classes=("no", "yes")), 2),
        (Classification(classes=("a", "b", "c")), 3),
        (MultiLabel(labels=("x", "y")), 4),
    ],
)
def test_made_up_patients_have_every_outcome_that_the_task_can_have(task, kinds):
    outcomes = made_up_patients(tiny_block("a"), task).batch().outcomes

    task.check_outcomes(outcomes)
    assert len({tuple(row) for row in outcomes.tolist()}) == kinds


def test_the_same_patients_are_made_up_whatever_a_block_has_learned():
    one, other = tiny_block("a", seed=1), tiny_block("a", seed=2)
    other.normalise_with(Normalisation(torch.tensor([5.0, -1e30]), torch.tensor([0.1, 1e-30])))

    first, second = (made_up_patients(block, TASK).batch() for block in (one, other))
    begin_anew(one)
    begin_anew(other)

    assert torch.equal(first.inputs["a"].values, second.inputs["a"].values)
    assert torch.equal(first.outcomes, second.outcomes)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("value", [0.0, 1e30, float("nan")])
def test_weights_made_to_hide_or_to_fail_change_nothing(value):
    def with_weights(use: Callable[[nn.Module, Tensor], Tensor]) -> LegoBlock:
        block = LegoBlock("a", Foreign(nn.Linear(5, 5), use), TABLE, num_outputs=1, contract=CONTRACT)
        with torch.no_grad():
            for weight in block.parameters():
                weight.fill_(value)
        return block

    check_per_patient_gradients(with_weights(nn.Module.__call__), task=TASK)
    with pytest.raises(PrivacyError, match=r"module 'encoder.own' .*it is run on 1 of 8 patients"):
        check_per_patient_gradients(with_weights(looped), task=TASK)


# ---- what does not ------------------------------------------------------------------------------


class Foreign(nn.Module):
    """An encoder of a table around something of one's own."""

    def __init__(self, layer: nn.Module, use: Callable[[nn.Module, Tensor], Tensor], width: int = 5) -> None:
        super().__init__()
        self.token_dim = width
        self.first = nn.Linear(2, 5)
        self.own = layer
        self.use = use

    def forward(self, inputs: Inputs) -> Tokens:
        values = self.use(self.own, self.first(inputs.values[:, 0]))
        return Tokens(values.unsqueeze(1), inputs.present)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, values: Tensor, other: Tensor) -> Tensor:
        return values * self.scale + other


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))
        self.mean = nn.Buffer(torch.zeros(5))

    def forward(self, values: Tensor) -> Tensor:
        return values * self.scale + self.mean


def looped(layer: nn.Module, values: Tensor) -> Tensor:
    return torch.cat([layer(patient[None]) for patient in values])


def in_halves(layer: nn.Module, values: Tensor) -> Tensor:
    middle = len(values) // 2
    return torch.cat([layer(values[:middle]), layer(values[middle:])]) if middle else layer(values)


def upside_down(layer: nn.Module, values: Tensor) -> Tensor:
    return layer(values.flip(0)).flip(0)


def attended(layer: nn.Module, values: Tensor) -> Tensor:
    return layer(*[values.unsqueeze(1)] * 3)[0].squeeze(1)


BAD = {
    "a loop over patients": (nn.Linear(5, 5), looped, r"module 'encoder.own' .*it is run on 1 of 8 patients"),
    "a half at a time": (nn.Linear(5, 5), in_halves, r"module 'encoder.own' .*it is run on 4 of 8 patients"),
    "another order": (nn.Linear(5, 5), upside_down, r"module 'encoder.own' .*differs from the patient's own"),
    "a BatchNorm": (nn.BatchNorm1d(5), nn.Module.__call__, "'encoder.own': a BatchNorm1d mixes the patients"),
    "attention of torch": (
        nn.MultiheadAttention(5, 1, batch_first=True),
        attended,
        "'encoder.own': a MultiheadAttention hides its weights",
    ),
    "a GRU cell": (
        nn.GRUCell(5, 5),
        nn.Module.__call__,
        "'encoder.own': a GRUCell has no counterpart in Opacus",
    ),
    "an LSTM with projections": (
        nn.LSTM(5, 6, proj_size=5, batch_first=True),
        lambda layer, values: layer(values.unsqueeze(1))[0].squeeze(1),
        "'encoder.own': a LSTM has no counterpart in Opacus",
    ),
    "running averages": (
        nn.InstanceNorm1d(5, track_running_stats=True),
        lambda layer, values: layer(values.unsqueeze(2).expand(-1, -1, 2))[..., 0],
        "'encoder.own': a InstanceNorm1d keeps averages over patients",
    ),
    "two inputs": (
        TwoInputs(),
        lambda layer, values: layer(values, values.tanh()),
        r"Opacus raised 'TypeError' over the gradients per patient of 'encoder.own \(TwoInputs\)'",
    ),
    "weights and numbers": (
        Counting(),
        nn.Module.__call__,
        r"Opacus raised 'NotImplementedError' over .* of 'encoder.own \(Counting\)'",
    ),
    "company": (
        nn.Identity(),
        lambda layer, values: values - values.mean(0) if len(values) > 1 else values,
        "answers a patient differently in other company",
    ),
    "dropout by a function": (
        nn.Identity(),
        lambda layer, values: functional.dropout(values, 0.5),
        "drops at random by a function and not by a layer",
    ),
    "rows enough": (
        nn.Identity(),
        lambda layer, values: values.unfold(0, 2, 1)[:, :, 0],
        "The model raised 'RuntimeError' over made-up patients",
    ),
    "a weight without use": (
        nn.Linear(5, 5),
        lambda layer, values: values,
        r"module 'encoder.own' .*Opacus tells no gradients per patient of it",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_module_that_cannot_be_told_apart_is_named_with_the_reason(bad):
    layer, use, sentence = BAD[bad]
    block = LegoBlock("a", Foreign(copy.deepcopy(layer), use), TABLE, num_outputs=1, contract=CONTRACT)
    with torch.no_grad():
        block.token_memory.to_value.weight.zero_()  # behind zeros every gradient looks right

    with pytest.raises(PrivacyError, match=sentence):
        check_per_patient_gradients(block, task=TASK)


@pytest.mark.parametrize(
    "layer",
    [
        nn.GRU(5, 5, batch_first=True),
        nn.LSTM(5, 5, num_layers=2, dropout=0.3, batch_first=True),
        nn.RNN(5, 5, nonlinearity="relu", bias=False, batch_first=True),
    ],
)
def test_recurrent_layers_are_told_apart_by_those_of_opacus(layer):
    def use(layer: nn.Module, values: Tensor) -> Tensor:
        return layer(torch.stack([values, values.tanh()], dim=1))[0][:, 1]

    block = LegoBlock("a", Foreign(copy.deepcopy(layer), use), TABLE, num_outputs=1, contract=CONTRACT)

    check_per_patient_gradients(block, task=TASK)


def test_a_loss_over_all_patients_at_once_is_refused(monkeypatch):
    def ranked(self: MultiLabel, logits: Tensor, outcomes: Tensor) -> Tensor:
        return logits.logsumexp(dim=0).mean() - (logits * outcomes).mean()

    monkeypatch.setattr(MultiLabel, "loss", ranked)

    with pytest.raises(
        PrivacyError, match="loss of task 'multi-label' is not the mean of one loss per patient"
    ):
        check_per_patient_gradients(tiny_block("a", num_outputs=1), task=TASK)


def test_images_as_opacus_would_read_them_are_found_out(monkeypatch):
    """Opacus 1.6 takes wrong gradients of convolutions over images that do not lie row by row."""
    monkeypatch.setattr(_private_copy, "_laid_out", lambda layer, inputs: inputs)
    block = LegoBlock("scan", Image(), SCHEMAS["scan"], num_outputs=1)

    with pytest.raises(
        PrivacyError, match=r"module 'encoder.stages.0.halve.0' .*differs from the patient's own"
    ):
        check_per_patient_gradients(block, task=TASK)
