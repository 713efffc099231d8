"""Features, visits, patches or pixels that attend to one another."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from lego_core.encoders import Transformer
from lego_core.errors import PlanError, ShapeError
from lego_core.records import ModalitySchema

NAMES = tuple("abcd")
TABLE = ModalitySchema(layout="table", features=NAMES)
SERIES = ModalitySchema(layout="series", features=NAMES)
BAG = ModalitySchema(layout="bag", features=NAMES)
IMAGE = ModalitySchema(layout="image", features=NAMES, grid=(3, 4))


def test_every_feature_of_a_table_is_a_token(make_inputs):
    tokens = Transformer(token_dim=8).build(TABLE)(make_inputs(torch.randn(2, 1, 4)))

    assert tokens.values.shape == (2, 4, 8)


@pytest.mark.parametrize("schema", [TABLE, SERIES, BAG, IMAGE])
def test_an_absent_measurement_is_not_a_measurement_of_zero(make_inputs, schema):
    module = Transformer().build(schema).eval()
    rows = {"table": 1, "image": 12}.get(schema.layout, 3)
    values = torch.zeros(1, rows, 4)
    measured = torch.ones_like(values, dtype=torch.bool)
    measured[0, 0, 2] = False

    absent = module(make_inputs(values, measured=measured)).values

    assert not torch.allclose(absent, module(make_inputs(values)).values, atol=1e-3)


def test_order_of_the_rows_of_a_bag_does_not_matter(make_inputs):
    module = Transformer().build(BAG).eval()
    rows, order = torch.randn(1, 6, 4), torch.randperm(6)

    shuffled = module(make_inputs(rows[:, order])).values

    torch.testing.assert_close(shuffled, module(make_inputs(rows)).values[:, order], atol=1e-5, rtol=1e-4)


def test_in_a_series_times_matter(make_inputs):
    module = Transformer().build(SERIES).eval()
    visits, times = torch.randn(1, 3, 4), torch.tensor([[0.0, 1.0, 30.0]])

    tokens, later = (module(make_inputs(visits, times_days=t)).values for t in (times, 2 * times))

    assert not torch.allclose(tokens, later, atol=1e-3)


def test_a_pixel_knows_its_place(make_inputs):
    tokens = Transformer().build(IMAGE).eval()(make_inputs(torch.zeros(1, 12, 4))).values[0]

    assert len(tokens.round(decimals=4).unique(dim=0)) == 12


def test_a_layer_equals_the_pre_norm_layer_of_torch(make_inputs):
    module = Transformer(token_dim=16, depth=1, num_heads=4, feed_forward_factor=2).build(BAG).eval()
    theirs = nn.TransformerEncoderLayer(
        16, 4, dim_feedforward=32, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    ours = {name.removeprefix("layers.0."): weight for name, weight in module.state_dict().items()}
    names = {
        "self_attn.in_proj_": "to_query_key_value.",
        "self_attn.out_proj.": "to_output.",
        "norm1.": "attention_norm.",
        "norm2.": "feed_forward.0.",
        "linear1.": "feed_forward.1.",
        "linear2.": "feed_forward.4.",
    }
    theirs.load_state_dict(
        {their + part: ours[our + part] for their, our in names.items() for part in ("weight", "bias")}
    )
    present = torch.arange(7) < torch.tensor([[4], [7]])
    inputs = make_inputs(torch.randn(2, 7, 4), present=present)

    expected = theirs(module.embedding(inputs).values, src_key_padding_mask=~present)

    tokens = module(inputs)
    torch.testing.assert_close(tokens.values[present], expected[present], atol=1e-5, rtol=1e-4)


def test_padding_is_zero(make_inputs):
    present = torch.tensor([[True, False]])

    tokens = Transformer().build(BAG)(make_inputs(torch.randn(1, 2, 4), present=present))

    assert (tokens.values[0, 1] == 0).all()


def test_a_table_with_too_many_features_is_refused():
    with pytest.raises(PlanError, match=r"at most 3 tokens, and this modality has 4 features .* 'tabular'"):
        Transformer(max_tokens=3).build(TABLE)


def test_an_image_with_too_many_pixels_is_refused():
    with pytest.raises(PlanError, match=r"at most 11 tokens, and this modality has 12 pixels .* 'image'"):
        Transformer(max_tokens=11).build(IMAGE)


@pytest.mark.parametrize("schema", [SERIES, BAG])
def test_a_patient_with_too_many_rows_is_refused(make_inputs, schema):
    module = Transformer(max_tokens=5).build(schema)

    with pytest.raises(ShapeError, match="at most 5 rows per patient, and a patient of this batch has 6"):
        module(make_inputs(torch.zeros(1, 6, 4)))


def test_as_many_rows_as_allowed_are_read(make_inputs):
    assert Transformer(max_tokens=5).build(BAG)(make_inputs(torch.zeros(1, 5, 4))).present.all()


def test_a_table_of_two_rows_is_refused(make_inputs):
    with pytest.raises(ShapeError, match="A table has 1 row per patient, and these inputs have 2"):
        Transformer().build(TABLE)(make_inputs(torch.zeros(1, 2, 4)))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValidationError, match="tokens of width 10 do not split into 4 heads"):
        Transformer(token_dim=10)
