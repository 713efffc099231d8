"""Every modality as tokens, for every patient: by our encoders, or row by row."""

import math
from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.encoders import Encoder, Image, Patches, Tabular, TimeSeries
from lego_core.encoders._embedding import PixelTokens, RowTokens
from lego_core.records import Inputs, Layout, ModalitySchema, Tokens

DEFAULT_ENCODERS: dict[Layout, Encoder] = {
    "table": Tabular(),
    "series": TimeSeries(),
    "bag": Patches(),
    "image": Image(),
}


def encoder_for(name: str, schema: ModalitySchema, *, chosen: Mapping[str, Encoder]) -> nn.Module:
    """Build the encoder that settings choose for a modality, or the default of its layout."""
    return chosen.get(name, DEFAULT_ENCODERS[schema.layout]).build(schema)


def rows_of(schema: ModalitySchema, *, token_dim: int) -> nn.Module:
    """A token per row, by one linear map; per feature, or chunk of features, of a table."""
    match schema.layout:
        case "table":
            return ChunkTokens(schema.num_features, token_dim)
        case "image":
            return PixelTokens(schema.num_features, token_dim, grid=schema.grid or (0, 0))
        case "series" | "bag":
            return RowTokens(schema.num_features, token_dim, timed=schema.layout == "series")


@final
class ChunkTokens(nn.Module):
    """Make a table a few tokens: a linear map of each chunk of neighbouring features.

    Up to 64 features are a token each; more of them share tokens, for thousands of tokens would
    cost what thousands of features do not tell.

    Shapes:
        inputs   F features in 1 row
        returns  at most 64 tokens of width C
    """

    def __init__(self, num_features: int, token_dim: int, *, most: int = 64) -> None:
        super().__init__()
        self.width = math.ceil(num_features / most)
        count = math.ceil(num_features / self.width)
        self.padding = count * self.width - num_features
        self.value = nn.Parameter(torch.randn(count, self.width, token_dim) * self.width**-0.5)
        self.absent = nn.Parameter(torch.zeros(count, self.width, token_dim))
        self.name = nn.Parameter(0.1 * torch.randn(count, token_dim))

    def forward(self, inputs: Inputs) -> Tokens:
        """Cut the features into chunks, and embed each."""
        values, missing = self._chunks(inputs.values), self._chunks((~inputs.measured).to(inputs.values))
        tokens = torch.einsum("btw,twc->btc", values, self.value)
        tokens = tokens + torch.einsum("btw,twc->btc", missing, self.absent) + self.name
        return Tokens(tokens, torch.ones_like(tokens[..., 0], dtype=torch.bool))

    def _chunks(self, rows: Float[Tensor, "B 1 F"]) -> Float[Tensor, "B T W"]:
        return nn.functional.pad(rows[:, 0], (0, self.padding)).unflatten(1, (-1, self.width))


@final
class HeldTokens(nn.Module):
    """Tokens of one modality; where a patient lacks it, one learned token stands for it.

    Args:
        encoder: Any module from `Inputs` to `Tokens`, with patients who all hold the modality.
        token_dim: Width C that all modalities are brought to; the encoder says its own in its
            attribute `token_dim`, or has this one already.

    Shapes:
        inputs   Inputs of B patients who may lack the modality
        returns  Tokens of all of them, at least one present per patient
    """

    def __init__(self, encoder: nn.Module, *, token_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        encoder_dim = getattr(encoder, "token_dim", token_dim)
        self.project = nn.Identity() if encoder_dim == token_dim else nn.Linear(encoder_dim, token_dim)
        self.absent = nn.Parameter(torch.zeros(token_dim))

    def forward(self, inputs: Inputs) -> Tokens:
        """Encode the patients who hold the modality."""
        held = inputs.held
        if not held.any():
            return Tokens(self.absent.expand(len(held), 1, -1), torch.ones_like(held).unsqueeze(1))
        own = self.encoder(inputs.select(held))
        own_values = self.project(own.values)
        if held.all():
            return Tokens(own_values, own.present)
        values = self.absent.to(own_values.dtype).repeat(len(held), own_values.shape[1], 1)
        present = torch.zeros(values.shape[:2], dtype=torch.bool, device=values.device)
        present[:, 0] = True
        return Tokens(values.index_put((held,), own_values), present.index_put((held,), own.present))
