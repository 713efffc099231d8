"""Bags: many patches of one patient, pooled by gated attention."""

from typing import ClassVar, Literal, final

import torch
from pydantic import Field
from torch import nn

from lego_core.encoders._contract import AbstractEncoder
from lego_core.encoders._fit import require_layout
from lego_core.records import Inputs, Layout, ModalitySchema, Tokens


@final
class Patches(AbstractEncoder):
    """Let gated attention choose, from thousands of patches, those that matter.

    Every patch is projected, several branches of attention score it, and each branch
    pools the bag into one token by its own scores. A value that was not measured counts
    as an average one.

    Args:
        token_dim: Width C of the projected patches and of the tokens.
        num_tokens: Number of attention branches; each gives one token.
        attention_dim: Inner width of the attention.
        dropout: Probability of dropping a feature of a projected patch, in [0, 1).

    Raises:
        PlanError: From `build`, if the modality is not a bag.

    Guarantees:
        The order of the patches does not matter.
        Padding has no weight at all in any token.

    Source:
        Ilse, Tomczak, Welling. "Attention-based Deep Multiple Instance Learning."
        ICML 2018. arXiv:1802.04712, equation 9.
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("bag",)

    kind: Literal["patches"] = "patches"
    token_dim: int = Field(default=64, ge=1)
    num_tokens: int = Field(default=4, ge=1)
    attention_dim: int = Field(default=64, ge=1)
    dropout: float = Field(default=0.25, ge=0, lt=1)

    def build(self, schema: ModalitySchema) -> nn.Module:
        """Make the pooling for the features of the schema."""
        require_layout(schema, self.layouts, kind=self.kind)
        return _PatchesModule(self, schema.num_features)


class _PatchesModule(nn.Module):
    """The pooling of `Patches`.

    Shapes:
        inputs   N patches of F features
        returns  T tokens of width C, one per branch of attention
    """

    def __init__(self, settings: Patches, num_features: int) -> None:
        super().__init__()
        self.token_dim = settings.token_dim
        self.project = nn.Sequential(
            nn.Linear(num_features, settings.token_dim), nn.ReLU(), nn.Dropout(settings.dropout)
        )
        self.content = nn.Linear(settings.token_dim, settings.attention_dim)
        self.gate = nn.Linear(settings.token_dim, settings.attention_dim)
        self.score = nn.Linear(settings.attention_dim, settings.num_tokens)

    def forward(self, inputs: Inputs) -> Tokens:
        """Project, score and pool."""
        padding = ~inputs.present.unsqueeze(-1)  # (B, N, 1)
        patches = self.project(inputs.values)  # (B, N, C)
        scores = self.score(torch.tanh(self.content(patches)) * torch.sigmoid(self.gate(patches)))
        weights = scores.masked_fill(padding, -torch.inf).softmax(dim=1)  # (B, N, T)
        values = weights.transpose(1, 2) @ patches  # (B, T, C)
        return Tokens(values, torch.ones_like(values[..., 0], dtype=torch.bool))
