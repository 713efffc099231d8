"""Perceiver: a small latent array reads everything at once."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from lego_core.records import Batch, ModalitySchema, Tokens
from simulations.baselines._attention import CrossAttention, FeedForward, LatentHead, self_attention
from simulations.baselines._networks import AbstractNetwork
from simulations.baselines._tokens import HeldTokens, rows_of


@final
class Perceiver(AbstractNetwork):
    """A learned latent array asks the rows of all modalities together, then thinks, and again.

    A row of a bag or series and a pixel is one token; a table is a token per feature, or per
    chunk of features if there are more than 64. Every token has its modality's encoding added.
    A modality that a patient lacks is one learned token. Asking and thinking share their
    weights over the passes, as in the paper.

    Args:
        num_latents: Number of latents L.
        latent_dim: Width of latents and tokens.
        depth: How often the array asks.
        self_depth: Layers of self-attention after each asking.
        num_heads: Heads of all attention; must divide `latent_dim`.
        dropout: Probability of dropping a value, in [0, 1).

    Source:
        Jaegle, Gimeno, Brock, Zisserman, Vinyals, Carreira. "Perceiver: General Perception with
        Iterative Attention." ICML 2021. arXiv:2103.03206.
    """

    kind: Literal["perceiver"] = "perceiver"
    num_latents: int = Field(default=8, ge=1)
    latent_dim: int = Field(default=64, ge=4, multiple_of=4)
    depth: int = Field(default=2, ge=1)
    self_depth: int = Field(default=1, ge=0)
    num_heads: Literal[1, 2, 4] = 4
    dropout: float = Field(default=0.25, ge=0, lt=1)

    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        """Make the network for these modalities."""
        return _PerceiverModule(self, schemas, num_outputs=num_outputs)


class _PerceiverModule(nn.Module):
    """The network of `Perceiver`.

    Shapes:
        batch    Batch of B patients
        returns  (B, K)  logits
    """

    def __init__(
        self, settings: Perceiver, schemas: Mapping[str, ModalitySchema], *, num_outputs: int
    ) -> None:
        super().__init__()
        dim, heads, dropout = settings.latent_dim, settings.num_heads, settings.dropout
        self.depth = settings.depth
        self.tokens = nn.ModuleDict(
            {
                name: HeldTokens(rows_of(schema, token_dim=dim), token_dim=dim)
                for name, schema in schemas.items()
            }
        )
        self.encodings = nn.Parameter(0.1 * torch.randn(len(schemas), dim))
        self.latent = nn.Parameter(torch.randn(settings.num_latents, dim))
        self.ask = CrossAttention(dim, num_heads=heads, dropout=dropout)
        self.feed_forward = FeedForward(dim, dropout=dropout)
        self.think = nn.ModuleList(
            self_attention(dim, num_heads=heads, dropout=dropout) for _ in range(settings.self_depth)
        )
        self.head = LatentHead(dim, num_outputs)

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Ask and think, `depth` times."""
        read = [tokens(batch.inputs[name]) for name, tokens in self.tokens.items()]
        values = [one.values + encoding for one, encoding in zip(read, self.encodings, strict=True)]
        everything = Tokens(torch.cat(values, dim=1), torch.cat([one.present for one in read], dim=1))
        latent = self.latent.expand(len(batch), -1, -1)
        for _ in range(self.depth):
            latent = self.feed_forward(self.ask(latent, everything))
            for layer in self.think:
                latent = layer(latent)
        return self.head(latent)
