"""A small convolutional network from raw pixels."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from lego_core.encoders import Image
from lego_core.encoders._fit import as_images
from lego_core.errors import ShapeError
from lego_core.records import ModalitySchema


def schema(height, width):
    return ModalitySchema(layout="image", features=("r", "g"), grid=(height, width))


def test_pixels_in_reading_order_become_images_with_channels_first(make_inputs):
    pixels = torch.arange(12.0).reshape(1, 6, 2)

    image = as_images(make_inputs(pixels), (2, 3))

    assert image[0, 0].tolist() == [[0, 2, 4], [6, 8, 10]]
    assert image[0, 1].tolist() == [[1, 3, 5], [7, 9, 11]]


@pytest.mark.parametrize(("grid", "tokens"), [((28, 28), 16), ((9, 5), 2), ((1, 1), 1)])
def test_every_position_of_the_last_map_is_a_token(make_inputs, grid, tokens):
    module = Image().build(schema(*grid)).eval()

    made = module(make_inputs(torch.randn(2, grid[0] * grid[1], 2)))

    assert made.values.shape == (2, tokens, 64)


def test_an_image_of_one_pixel_is_still_seen(make_inputs):
    module = Image().build(schema(1, 1)).eval()

    dark, bright = (module(make_inputs(torch.full((1, 1, 2), shade))).values for shade in (-1.0, 1.0))

    assert not torch.allclose(dark, bright, atol=1e-3)


def test_equal_surroundings_at_two_places_give_different_tokens(make_inputs):
    module = Image(stage_dims=(8,)).build(schema(8, 8)).eval()

    tokens = module(make_inputs(torch.zeros(1, 64, 2))).values[0]

    inner, other_inner = tokens[5], tokens[10]
    assert not torch.allclose(inner, other_inner, atol=1e-3)


def test_no_layer_looks_at_other_patients():
    module = Image().build(schema(8, 8))

    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())


def test_an_image_of_another_size_is_refused(make_inputs):
    module = Image().build(schema(8, 8))

    with pytest.raises(ShapeError, match="8 by 8 pixels has 64 rows, and these inputs have 49"):
        module(make_inputs(torch.zeros(1, 49, 2)))


def test_channels_that_do_not_split_into_groups_are_refused():
    with pytest.raises(ValidationError, match="multiple of 8"):
        Image(stage_dims=(12,))
