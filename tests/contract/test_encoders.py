"""What every encoder promises, for every layout it can read."""

from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from lego_core.block import LegoBlock
from lego_core.encoders import Encoder
from lego_core.encoders._contract import AbstractEncoder
from lego_core.errors import PlanError
from lego_core.private_training import check_per_patient_gradients
from lego_core.records import (
    Inputs,
    Layout,
    Measurement,
    ModalitySchema,
    Outcome,
    PatientRecord,
    collate,
)
from lego_core.tasks import MultiLabel

GRID = (5, 6)
SCHEMAS: dict[Layout, ModalitySchema] = {
    "table": ModalitySchema(layout="table", features=("a", "b", "c")),
    "series": ModalitySchema(layout="series", features=("a", "b", "c")),
    "bag": ModalitySchema(layout="bag", features=("a", "b", "c")),
    "image": ModalitySchema(layout="image", features=("r", "g", "b"), grid=GRID),
}
LENGTHS: dict[Layout, tuple[int, ...]] = {
    "table": (1, 1, 1),
    "series": (4, 1, 9),
    "bag": (4, 1, 9),
    "image": (30, 30, 30),
}
LINEAR = {"source": "torch.nn:Linear", "arguments": {"in_features": 3, "out_features": 8}}
CONVOLUTION = {
    "source": "torch.nn:Conv2d",
    "arguments": {"in_channels": 3, "out_channels": 8, "kernel_size": 3},
}
# Settings of members that have no defaults; every other member is tested with its own.
SETTINGS: dict[tuple[str, Layout], dict[str, Any]] = {
    ("module", "table"): LINEAR,
    ("module", "series"): LINEAR,
    ("module", "bag"): LINEAR,
    ("module", "image"): CONVOLUTION,
}

MEMBERS: tuple[type[AbstractEncoder], ...] = get_args(get_args(Encoder)[0])
CASES = [(member, layout) for member in MEMBERS for layout in member.layouts]
every_case = pytest.mark.parametrize(
    ("member", "layout"), CASES, ids=[f"{member.__name__}-{layout}" for member, layout in CASES]
)


def settings_of(member: type[AbstractEncoder], layout: Layout) -> AbstractEncoder:
    kind = member.model_fields["kind"].default
    return member(**SETTINGS.get((kind, layout), {}))


def built(member: type[AbstractEncoder], layout: Layout, *, seed: int = 0) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return settings_of(member, layout).build(SCHEMAS[layout])


def patients(layout: Layout, lengths: tuple[int, ...]) -> list[PatientRecord]:
    rng = torch.Generator().manual_seed(1)
    records = []
    for number, length in enumerate(lengths):
        values = torch.randn(length, 3, generator=rng)
        values[torch.rand(length, 3, generator=rng) < 0.2] = torch.nan
        times = torch.rand(length, generator=rng).cumsum(0) if layout == "series" else None
        records.append(PatientRecord(str(number), {"m": Measurement(values, times)}, Outcome((0.0,))))
    return records


def inputs_of(records: list[PatientRecord], layout: Layout) -> Inputs:
    return collate(records, {"m": SCHEMAS[layout]}).inputs["m"]


def some_inputs(layout: Layout) -> Inputs:
    return inputs_of(patients(layout, LENGTHS[layout]), layout)


@every_case
def test_every_encoder_gives_tokens_of_the_width_it_names(member, layout):
    module = built(member, layout)

    tokens = module(some_inputs(layout))

    assert type(module.token_dim) is int
    assert tokens.values.shape == (3, tokens.present.shape[1], module.token_dim)
    assert tokens.present.any(dim=1).all()


@every_case
def test_every_encoder_gives_finite_tokens_and_a_gradient_to_every_weight(member, layout):
    module = built(member, layout).train()

    tokens = module(some_inputs(layout))
    tokens.values[tokens.present].square().sum().backward()

    assert tokens.values.isfinite().all()
    for name, weight in module.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name


@every_case
def test_every_encoder_gives_a_patient_the_same_tokens_alone_and_in_company(member, layout):
    module = built(member, layout).eval()
    records = patients(layout, LENGTHS[layout])
    together = module(inputs_of(records, layout))

    for number, record in enumerate(records):
        alone = module(inputs_of([record], layout))

        in_company = together.values[number][together.present[number]]
        torch.testing.assert_close(alone.values[0][alone.present[0]], in_company, atol=1e-5, rtol=1e-4)


@every_case
def test_every_encoder_leaves_its_inputs_as_they_were(member, layout):
    module = built(member, layout).train()
    inputs = some_inputs(layout)
    before = {name: getattr(inputs, name).clone() for name in Inputs.__slots__}

    module(inputs)

    assert all(torch.equal(getattr(inputs, name), before[name]) for name in Inputs.__slots__)


@every_case
def test_every_encoder_answers_twice_alike_in_evaluation(member, layout):
    module = built(member, layout).eval()

    first, second = module(some_inputs(layout)), module(some_inputs(layout))

    assert torch.equal(first.values, second.values)
    assert torch.equal(first.present, second.present)


@every_case
def test_every_encoder_keeps_nothing_of_a_batch(member, layout):
    module = built(member, layout).train()
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    lengths = LENGTHS[layout]

    module(inputs_of(patients(layout, lengths * 7), layout))

    after = module.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not any(21 in weight.shape for weight in after.values())


@every_case
def test_every_encoder_takes_an_empty_batch(member, layout):
    module = built(member, layout).train()

    tokens = module(some_inputs(layout).select(torch.zeros(3, dtype=torch.bool)))

    assert len(tokens.values) == len(tokens.present) == 0
    assert tokens.values.shape[2] == module.token_dim


@every_case
def test_every_encoder_lets_gradients_be_told_patient_by_patient(member, layout):
    block = LegoBlock("m", settings_of(member, layout), SCHEMAS[layout], num_outputs=1)

    check_per_patient_gradients(block, task=MultiLabel(labels=("ill",)))


@every_case
def test_every_encoder_starts_from_the_seed(member, layout):
    first, again, other = (built(member, layout, seed=seed).state_dict() for seed in (0, 0, 1))

    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@every_case
def test_every_encoder_survives_a_plan_and_back(member, layout):
    settings = settings_of(member, layout)

    assert TypeAdapter(Encoder).validate_python(settings.to_plain()) == settings


@pytest.mark.parametrize("member", MEMBERS)
def test_every_encoder_refuses_a_layout_it_cannot_read(member):
    refused = set(SCHEMAS) - set(member.layouts)

    for layout in refused:
        with pytest.raises(PlanError, match=f"this one has layout '{layout}'"):
            settings_of(member, layout).build(SCHEMAS[layout])


@every_case
def test_every_encoder_refuses_a_modality_without_features(member, layout):
    empty = ModalitySchema(layout=layout, features=(), grid=GRID)

    with pytest.raises(PlanError, match="needs at least 1 feature, and this modality has 0"):
        settings_of(member, layout).build(empty)


@pytest.mark.parametrize("member", [member for member in MEMBERS if "image" in member.layouts])
def test_every_image_encoder_refuses_a_modality_without_a_grid(member):
    without = ModalitySchema(layout="image", features=("r", "g", "b"))

    with pytest.raises(PlanError, match="needs the height and width of an image, and this modality names no"):
        settings_of(member, "image").build(without)


@pytest.mark.parametrize("member", MEMBERS)
def test_every_encoder_names_its_source(member):
    assert "Source:\n" in (member.__doc__ or "")


def test_an_unknown_kind_is_answered_with_the_kinds_that_exist():
    with pytest.raises(
        ValidationError, match="'image', 'module', 'patches', 'tabular', 'time_series', 'tran"
    ):
        TypeAdapter(Encoder).validate_python({"kind": "tabluar"})
