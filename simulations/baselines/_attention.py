"""Real-valued attention: a latent array, or the tokens of one modality, reads tokens."""

from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from lego_core.records import Tokens


@final
class CrossAttention(nn.Module):
    """Queries read tokens; LayerNorm before, a residual around.

    Shapes:
        queries  (B, L, C)
        returns  (B, L, C)
    """

    def __init__(self, dim: int, *, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.query_norm, self.token_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True)

    def forward(self, queries: Float[Tensor, "B L C"], tokens: Tokens) -> Float[Tensor, "B L C"]:
        """Read once."""
        read = self.token_norm(tokens.values)
        answer, _ = self.attention(
            self.query_norm(queries), read, read, key_padding_mask=~tokens.present, need_weights=False
        )
        return queries + answer


@final
class FeedForward(nn.Module):
    """Two layers, with LayerNorm before and a residual around.

    Shapes:
        values   (B, L, C)
        returns  (B, L, C)
    """

    def __init__(
        self, dim: int, *, dropout: float, factor: int = 2, activation: type[nn.Module] = nn.GELU
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, factor * dim),
            activation(),
            nn.Dropout(dropout),
            nn.Linear(factor * dim, dim),
        )

    def forward(self, values: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """Think once."""
        return values + self.layers(values)


def self_attention(dim: int, *, num_heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    """One layer of a transformer, LayerNorm first."""
    return nn.TransformerEncoderLayer(
        dim, num_heads, 2 * dim, dropout=dropout, activation="gelu", batch_first=True, norm_first=True
    )


@final
class LatentHead(nn.Module):
    """Mean over the latents, LayerNorm, logits.

    Shapes:
        latent   (B, L, C)
        returns  (B, K)
    """

    def __init__(self, dim: int, num_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_outputs))

    def forward(self, latent: Float[Tensor, "B L C"]) -> Float[Tensor, "B K"]:
        """Turn a latent array into logits."""
        return self.layers(latent.mean(dim=1))
