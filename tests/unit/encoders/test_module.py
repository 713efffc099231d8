"""Any torch module as an encoder."""

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from lego_core.encoders import Module, wrap_module
from lego_core.errors import PlanError
from lego_core.records import ModalitySchema

TABLE = ModalitySchema(layout="table", features=("a", "b", "c"))
SERIES = ModalitySchema(layout="series", features=("a", "b", "c"))
BAG = ModalitySchema(layout="bag", features=("a", "b", "c"))
IMAGE = ModalitySchema(layout="image", features=("r", "g", "b"), grid=(4, 6))


class Returning(nn.Module):
    """Answer with whatever a function makes of the input; remember the shapes that came."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return self.answer(x)


def test_a_vector_per_patient_is_one_token(make_inputs):
    module = wrap_module(nn.Linear(3, 5), TABLE)
    values = torch.randn(2, 1, 3)

    tokens = module(make_inputs(values))

    assert module.token_dim == 5
    assert tokens.values.shape == (2, 1, 5)
    assert torch.equal(tokens.values, module.module(values))


def test_rows_of_vectors_are_tokens(make_inputs):
    module = wrap_module(nn.Linear(3, 5), SERIES)

    assert module.token_dim == 5
    assert module(make_inputs(torch.randn(2, 7, 3))).values.shape == (2, 7, 5)


def test_a_map_of_an_image_is_read_position_by_position(make_inputs):
    module = wrap_module(nn.AvgPool2d(2), IMAGE)
    pixels = torch.randn(2, 24, 3)

    tokens = module(make_inputs(pixels)).values

    assert module.token_dim == 3
    assert tokens.shape == (2, 6, 3)
    torch.testing.assert_close(tokens[0, 1], pixels[0, [2, 3, 8, 9]].mean(dim=0))


def test_the_last_hidden_state_of_an_object_is_taken():
    module = wrap_module(Returning(lambda x: SimpleNamespace(last_hidden_state=x.repeat(1, 2))), TABLE)

    assert module.token_dim == 6


@pytest.mark.parametrize(
    ("schema", "shape"), [(TABLE, (2, 3)), (IMAGE, (2, 3, 4, 6)), (SERIES, (2, 4, 3)), (BAG, (2, 1, 3))]
)
def test_every_layout_is_tried_in_its_own_shape(schema, shape):
    module = Returning(lambda x: x.flatten(1)[:, :3])

    wrap_module(module, schema)

    assert shape in module.shapes


def test_patients_with_equally_many_rows_go_through_together_and_never_with_padding(make_inputs):
    module = Returning(lambda x: x)
    wrapped = wrap_module(module, BAG)
    present = torch.arange(5) < torch.tensor([[2], [5], [2]])
    bags = torch.randn(3, 5, 3)
    module.shapes.clear()

    tokens = wrapped(make_inputs(bags, present=present))

    assert module.shapes == [(2, 2, 3), (1, 5, 3)]
    assert torch.equal(tokens.present, present)
    assert torch.equal(tokens.values, bags * present.unsqueeze(-1))


def test_a_module_may_shorten_a_series(make_inputs):
    wrapped = wrap_module(Returning(lambda x: x[:, ::2]), SERIES)
    present = torch.arange(5) < torch.tensor([[2], [5]])

    tokens = wrapped(make_inputs(torch.randn(2, 5, 3), present=present))

    assert tokens.present.tolist() == [[True, False, False], [True, True, True]]


def test_the_trial_changes_neither_statistics_nor_modes():
    module = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5)).train()
    module[0].eval()
    before = module[0].running_mean.clone(), module[0].num_batches_tracked.clone()

    wrap_module(module, TABLE)

    assert [part.training for part in module.modules()] == [True, False, True]
    assert torch.equal(module[0].running_mean, before[0])
    assert torch.equal(module[0].num_batches_tracked, before[1])


def test_batch_statistics_are_part_of_the_weights(make_inputs):
    wrapped = wrap_module(nn.BatchNorm1d(3), TABLE).train()

    wrapped(make_inputs(torch.randn(8, 1, 3) + 4.0))

    assert (wrapped.state_dict()["module.running_mean"] > 0.2).all()


def test_a_lazy_module_takes_its_sizes_from_the_trial():
    assert wrap_module(nn.LazyLinear(7), TABLE).module.weight.shape == (7, 3)


def test_a_source_and_its_arguments_make_the_module():
    settings = Module(
        source="torch.nn:Linear", arguments={"in_features": 3, "out_features": 9, "bias": False}
    )

    module = settings.build(TABLE)

    assert module.token_dim == 9
    assert [name for name, _ in module.named_parameters()] == ["module.weight"]


@pytest.mark.parametrize("source", ["no_such_package:Thing", "torch.nn:NoSuchThing"])
def test_a_source_that_cannot_be_imported_is_refused(source):
    with pytest.raises(
        PlanError, match=rf"'{source}' cannot be imported .*encoder.source.* Install"
    ) as caught:
        Module(source=source).build(TABLE)

    assert "no" in caught.value.local.lower()


def test_a_source_that_cannot_be_called_is_refused():
    with pytest.raises(PlanError, match=r"'math:pi' is a 'float', which cannot be called"):
        Module(source="math:pi").build(TABLE)


def test_a_source_that_makes_no_module_is_refused():
    with pytest.raises(
        PlanError, match=r"'builtins:dict' gave a 'dict', and an encoder must be a torch.nn.Mo"
    ):
        Module(source="builtins:dict").build(TABLE)


def test_arguments_that_do_not_fit_are_refused():
    settings = Module(source="torch.nn:Linear", arguments={"in_faetures": 3})

    with pytest.raises(
        PlanError, match=r"raised 'TypeError' when called with the arguments 'in_faetures'"
    ) as c:
        settings.build(TABLE)

    assert isinstance(c.value.__cause__, TypeError)


def test_missing_arguments_are_refused():
    with pytest.raises(PlanError, match=r"raised 'TypeError' when called with the arguments none"):
        Module(source="torch.nn:Linear").build(TABLE)


@pytest.mark.parametrize("source", ["torch.nn.Linear", "torch.nn:", "../evil:run", "a:b.c"])
def test_a_source_of_another_form_is_refused(source):
    with pytest.raises(ValidationError, match="source"):
        Module(source=source)


def test_a_module_that_fails_in_the_trial_is_refused_with_the_shape_it_was_fed():
    with pytest.raises(
        PlanError, match=r"raised 'RuntimeError' when it was fed zeros of shape \(2, 3\)"
    ) as c:
        wrap_module(nn.Linear(4, 5), TABLE)

    assert "cannot be multiplied" in c.value.local
    assert str(c.value.__cause__) == c.value.local


def test_modes_return_even_if_the_trial_fails():
    module = nn.Linear(4, 5).train()

    with pytest.raises(PlanError):
        wrap_module(module, TABLE)

    assert module.training


@pytest.mark.parametrize(
    ("answer", "described"),
    [
        (lambda x: (x, x), "a 'tuple'"),
        (lambda x: x.sum(), r"a tensor of shape \(\) and type 'torch.float32'"),
        (lambda x: x[:1], r"a tensor of shape \(1, 1, 3\)"),
        (lambda x: x.long(), r"a tensor of shape \(2, 1, 3\) and type 'torch.int64'"),
        (lambda x: x[:, :0], r"a tensor of shape \(2, 1, 0\)"),
        (lambda x: x.reshape(2, 3, 1, 1, 1), r"a tensor of shape \(2, 3, 1, 1, 1\)"),
        (lambda x: SimpleNamespace(last_hidden_state=None), "a 'NoneType'"),
    ],
)
def test_what_cannot_be_read_as_tokens_is_refused_with_what_came(answer, described):
    with pytest.raises(PlanError, match=f"returned {described}.* for 2 patients, and tokens are read from"):
        wrap_module(Returning(answer), TABLE)


def test_rows_on_the_last_axis_are_refused():
    with pytest.raises(PlanError, match="width 4 for 4 rows and of width 1 for 1 row"):
        wrap_module(Returning(lambda x: x.transpose(1, 2)), SERIES)
