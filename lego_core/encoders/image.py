"""Images: a small convolutional network from raw pixels."""

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from lego_core.encoders._contract import AbstractEncoder
from lego_core.encoders._fit import as_images, grid_of, require_layout
from lego_core.per_patient import constant_of
from lego_core.records import Inputs, Layout, ModalitySchema, Tokens

CHANNELS_PER_GROUP = 8


@final
class Image(AbstractEncoder):
    """Read pixels with a small residual network; every place of its last map is a token.

    Each stage halves height and width. GroupNorm, which looks at one patient alone,
    stands where image networks usually have BatchNorm. A learned position is added to
    each token, so that the attention behind it knows where it looks. A pixel that was
    not measured counts as an average one.

    Args:
        token_dim: Width C of the tokens.
        stage_dims: Channels of each stage, multiples of 8.
        dropout: Probability of dropping a channel of the last map, in [0, 1).

    Raises:
        PlanError: From `build`, if the modality is not an image, or names no grid.
        ShapeError: From the module, if an image does not have the size of the grid.

    Source:
        He, Zhang, Ren, Sun. "Deep Residual Learning for Image Recognition." CVPR 2016.
        arXiv:1512.03385. Wu, He. "Group Normalization." ECCV 2018. arXiv:1803.08494.
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("image",)

    kind: Literal["image"] = "image"
    token_dim: int = Field(default=64, ge=1)
    stage_dims: tuple[Annotated[int, Field(ge=8, multiple_of=CHANNELS_PER_GROUP)], ...] = Field(
        default=(16, 32, 64), min_length=1
    )
    dropout: float = Field(default=0.1, ge=0, lt=1)

    def build(self, schema: ModalitySchema) -> nn.Module:
        """Make the network for the channels and the grid of the schema."""
        require_layout(schema, self.layouts, kind=self.kind)
        return _ImageModule(self, schema.num_features, grid=grid_of(schema, kind=self.kind))


class _ImageModule(nn.Module):
    """The network of `Image`.

    Shapes:
        inputs   height * width pixel rows of F channels
        returns  one token of width C per position of the last map, in reading order
    """

    learned_constants: ClassVar[tuple[str, ...]] = ("position",)

    def __init__(self, settings: Image, num_channels: int, *, grid: tuple[int, int]) -> None:
        super().__init__()
        self.token_dim = settings.token_dim
        self.grid = grid
        dims = (num_channels, *settings.stage_dims)
        self.stages = nn.Sequential(*(_Stage(*sizes) for sizes in pairwise(dims)))
        self.dropout = nn.Dropout2d(settings.dropout)
        self.to_tokens = nn.Conv2d(dims[-1], settings.token_dim, kernel_size=1)
        height, width = grid
        for _ in settings.stage_dims:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.position = nn.Parameter(0.02 * torch.randn(height * width, settings.token_dim))

    def forward(self, inputs: Inputs) -> Tokens:
        """Run the stages and read the last map position by position."""
        features = self.stages(as_images(inputs, self.grid))  # (B, last stage, h, w)
        values = self.to_tokens(self.dropout(features)).flatten(2).transpose(1, 2)
        values = values + constant_of(self.position, values.shape[0])
        return Tokens(values, torch.ones_like(values[..., 0], dtype=torch.bool))


class _Stage(nn.Module):
    """Halve height and width, then look once more, with a residual.

    Shapes:
        image    (B, channels in, height, width)
        returns  (B, channels out, ceil(height / 2), ceil(width / 2))
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.halve = nn.Sequential(
            nn.Conv2d(num_inputs, num_outputs, kernel_size=3, stride=2, padding=1),
            _norm(num_outputs),
            nn.GELU(),
        )
        self.refine = nn.Sequential(
            nn.Conv2d(num_outputs, num_outputs, kernel_size=3, padding=1), _norm(num_outputs), nn.GELU()
        )

    def forward(self, image: Float[Tensor, "B I height width"]) -> Float[Tensor, "B O h w"]:
        """Run one stage."""
        halved = self.halve(image)
        return halved + self.refine(halved)


def _norm(num_channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(num_channels // CHANNELS_PER_GROUP, num_channels)
