"""HEALNet: a shared latent array reads one modality after another, layer by layer."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from lego_core.records import Batch, ModalitySchema
from simulations.baselines._attention import CrossAttention, FeedForward, LatentHead
from simulations.baselines._encoded import AbstractEncodedNetwork
from simulations.baselines._pooling import encoded


@final
class HealNet(AbstractEncodedNetwork):
    """In every layer a shared latent array asks each modality in turn, and thinks in between.

    Each modality has attention of its own, which it keeps over the layers. A patient who lacks a
    modality skips its step: the latent goes on as it was. The paper attends to raw rows; here the
    tokens of our encoders are read, so that the comparison is about the fusion.

    Args:
        num_latents: Number of latents L.
        depth: Number of layers.
        num_heads: Heads of the attention; must divide `token_dim`.

    Source:
        Hemker, Simidjievski, Jamnik. "HEALNet: Multimodal Fusion for Heterogeneous Biomedical
        Data." NeurIPS 2024. arXiv:2311.09115.
    """

    kind: Literal["healnet"] = "healnet"
    num_latents: int = Field(default=8, ge=1)
    depth: int = Field(default=2, ge=1)
    num_heads: Literal[1, 2, 4] = 4

    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        """Make the network for these modalities."""
        return _HealNetModule(self, schemas, num_outputs=num_outputs)


class _HealNetModule(nn.Module):
    """The network of `HealNet`.

    Shapes:
        batch    Batch of B patients
        returns  (B, K)  logits
    """

    def __init__(self, settings: HealNet, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> None:
        super().__init__()
        dim, dropout = settings.token_dim, settings.dropout
        self.depth = settings.depth
        self.tokens = encoded(schemas, chosen=settings.encoders, token_dim=dim)
        self.latent = nn.Parameter(torch.randn(settings.num_latents, dim))
        self.asks = nn.ModuleDict(
            {name: CrossAttention(dim, num_heads=settings.num_heads, dropout=dropout) for name in schemas}
        )
        self.thinks = nn.ModuleDict(
            {name: FeedForward(dim, dropout=dropout, activation=nn.SELU) for name in schemas}
        )
        self.head = LatentHead(dim, num_outputs)

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Ask every modality in turn, `depth` times."""
        read = {name: tokens(batch.inputs[name]) for name, tokens in self.tokens.items()}
        latent = self.latent.expand(len(batch), -1, -1)
        for _ in range(self.depth):
            for name, tokens in read.items():
                updated = self.thinks[name](self.asks[name](latent, tokens))
                latent = torch.where(batch.inputs[name].held[:, None, None], updated, latent)
        return self.head(latent)
