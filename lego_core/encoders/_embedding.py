"""Three ways to turn inputs into tokens, one row or feature at a time."""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.encoders._fit import as_images, only_row
from lego_core.per_patient import constant_of
from lego_core.records import Inputs, Tokens

SHORTEST_DAYS = 0.1
LONGEST_DAYS = 10_000.0
NUM_WAVES = 16


class FeatureTokens(nn.Module):
    """Make every feature of a table a token: value times weight, plus bias.

    A feature that was not measured gets a learned token of its own instead.

    Shapes:
        inputs   F features in 1 row
        returns  F tokens of width C
    """

    learned_constants: ClassVar[tuple[str, ...]] = ("weight", "bias", "absent")

    def __init__(self, num_features: int, token_dim: int) -> None:
        super().__init__()
        bound = token_dim**-0.5
        self.weight = nn.Parameter(torch.empty(num_features, token_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_features, token_dim).uniform_(-bound, bound))
        self.absent = nn.Parameter(torch.empty(num_features, token_dim).uniform_(-bound, bound))

    def forward(self, inputs: Inputs) -> Tokens:
        """Embed every feature."""
        values, measured = only_row(inputs)
        weight, bias, absent = (
            constant_of(own, values.shape[0]) for own in (self.weight, self.bias, self.absent)
        )
        tokens = torch.where(measured.unsqueeze(-1), values.unsqueeze(-1) * weight + bias, absent)
        return Tokens(tokens, torch.ones_like(measured))


class RowTokens(nn.Module):
    """Make every row a token: a linear map of its values and of what was not measured.

    Args:
        timed: Whether the time of the row is added.

    Shapes:
        inputs   T rows of F features
        returns  T tokens of width C
    """

    def __init__(self, num_features: int, token_dim: int, *, timed: bool = False) -> None:
        super().__init__()
        self.value = nn.Linear(num_features, token_dim)
        self.absent = nn.Linear(num_features, token_dim, bias=False)
        self.time = TimeEncoding(token_dim) if timed else None

    def forward(self, inputs: Inputs) -> Tokens:
        """Embed every row."""
        tokens = self.value(inputs.values) + self.absent((~inputs.measured).to(inputs.values.dtype))
        if self.time is not None:
            tokens = tokens + self.time(inputs.times_days)
        return Tokens(tokens, inputs.present)


class PixelTokens(nn.Module):
    """Make every pixel a token that knows its line and its column.

    Shapes:
        inputs   height * width pixel rows of F channels
        returns  height * width tokens of width C
    """

    learned_constants: ClassVar[tuple[str, ...]] = ("line", "column")

    def __init__(self, num_channels: int, token_dim: int, *, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.rows = RowTokens(num_channels, token_dim)
        self.line = nn.Parameter(0.02 * torch.randn(grid[0], 1, token_dim))
        self.column = nn.Parameter(0.02 * torch.randn(1, grid[1], token_dim))

    def forward(self, inputs: Inputs) -> Tokens:
        """Embed every pixel, after a look at the number of pixels."""
        as_images(inputs, self.grid)
        tokens = self.rows(inputs)
        line, column = (constant_of(own, tokens.values.shape[0]) for own in (self.line, self.column))
        return Tokens(tokens.values + (line + column).flatten(1, 2), tokens.present)


class TimeEncoding(nn.Module):
    """Say when, as sines and cosines of the time at scales from hours to decades.

    Shapes:
        times_days  (B, T)
        returns     (B, T, C)
    """

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.to_token = nn.Linear(2 * NUM_WAVES, token_dim)

    def forward(self, times_days: Float[Tensor, "B T"]) -> Float[Tensor, "B T C"]:
        """Encode the time of every row."""
        angles = times_days.unsqueeze(-1) / scales_days(times_days.device)
        return self.to_token(torch.cat([angles.sin(), angles.cos()], dim=-1))


def scales_days(device: torch.device) -> Float[Tensor, "waves"]:
    """The days in which each wave turns by one radian."""
    exponents = torch.linspace(math.log(SHORTEST_DAYS), math.log(LONGEST_DAYS), NUM_WAVES, device=device)
    return exponents.exp()
