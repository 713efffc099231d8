"""How a latent asks and how tokens answer.

Two halves, because they belong to different owners: `TokenMemory` is the modality's own
(keys and values of its tokens), `FrequencyCrossAttention` and `FeedForward` belong to the
trunk, which is the same for every modality and starts from the same weights everywhere.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from lego_core.errors import ShapeError
from lego_core.records import Tokens


@dataclass(frozen=True, slots=True)
class Memory:
    """Keys and values of one modality's tokens, computed once and asked several times.

    Shapes:
        keys     (B, H, T, D/H)
        values   (B, H, T, D/H)
        present  (B, T)
    """

    keys: Float[Tensor, "B H T W"]
    values: Float[Tensor, "B H T W"]
    present: Bool[Tensor, "B T"]


@final
class TokenMemory(nn.Module):
    """Turn a modality's tokens into keys and values.

    Args:
        token_dim: Width C of the tokens, as the encoder reports it.
        latent_dim: Width D of the latent.
        num_heads: Number of heads H; must divide `latent_dim`.

    Raises:
        ShapeError: If `num_heads` does not divide `latent_dim`.
    """

    def __init__(self, token_dim: int, *, latent_dim: int, num_heads: int) -> None:
        super().__init__()
        check_heads(latent_dim, num_heads)
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(token_dim)
        self.to_key = nn.Linear(token_dim, latent_dim, bias=False)
        self.to_value = nn.Linear(token_dim, latent_dim, bias=False)

    def forward(self, tokens: Tokens) -> Memory:
        """Compute keys and values once, however often they will be asked."""
        values = self.norm(tokens.values)
        keys = split_heads(self.to_key(values), self.num_heads)
        return Memory(keys, split_heads(self.to_value(values), self.num_heads), tokens.present)


@final
class FrequencyCrossAttention(nn.Module):
    """Let a latent read one modality, asking in the frequency domain.

    Queries come from the real part of the latent's spectrum, keys and values from the
    modality's tokens. The imaginary part (the phase) is carried along untouched, so the
    transform can be undone and the next pass, of this block or another, goes on from there.

    Args:
        latent_dim: Width D of the latent and of the output.
        num_heads: Number of heads H; must divide `latent_dim`.
        dropout: Probability of dropping a value of the answer, in [0, 1).
        residual: Add the answer to the real part, or put it in its place.

    Shapes:
        latent_freq  (B, L, D)  complex
        returns      (B, L, D)  complex

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego: Model Merging and Fine-Tuning
        Across Topologies and Modalities in Biomedicine." ICLR 2025. arXiv:2405.19950,
        equation 2 (without `residual`); the authors' code adds the residual.
    """

    def __init__(self, latent_dim: int, *, num_heads: int, dropout: float, residual: bool) -> None:
        super().__init__()
        check_heads(latent_dim, num_heads)
        self.num_heads = num_heads
        self.residual = residual
        self.norm = nn.LayerNorm(latent_dim)
        self.to_query = nn.Linear(latent_dim, latent_dim, bias=False)
        self.to_output = nn.Linear(latent_dim, latent_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, latent_freq: Complex[Tensor, "B L D"], memory: Memory) -> Complex[Tensor, "B L D"]:
        """Ask the modality once."""
        return torch.complex(self.ask(latent_freq.real, memory).float(), latent_freq.imag)

    def ask(self, asked: Float[Tensor, "B L D"], memory: Memory) -> Float[Tensor, "B L D"]:
        """What becomes of the real part; the imaginary one has no say in it."""
        queries = split_heads(self.to_query(self.norm(asked)), self.num_heads)
        allowed = memory.present[:, None, None, :]
        answer = functional.scaled_dot_product_attention(
            queries, memory.keys, memory.values, attn_mask=allowed
        )
        answer = self.dropout(self.to_output(answer.transpose(1, 2).flatten(2)))
        return asked + answer if self.residual else answer


@final
class FeedForward(nn.Module):
    """Think over what was read: the usual two layers, on the real part, with a residual.

    Shapes:
        latent_freq  (B, L, D)  complex
        returns      (B, L, D)  complex
    """

    def __init__(self, latent_dim: int, *, factor: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(latent_dim),
            nn.Linear(latent_dim, factor * latent_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(factor * latent_dim, latent_dim),
        )

    def forward(self, latent_freq: Complex[Tensor, "B L D"]) -> Complex[Tensor, "B L D"]:
        """Update the real part."""
        return torch.complex(self.think(latent_freq.real).float(), latent_freq.imag)

    def think(self, real: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """What becomes of the real part."""
        return real + self.layers(real)


def check_heads(latent_dim: int, num_heads: int) -> None:
    """Refuse a width that does not split into heads.

    Raises:
        ShapeError: If `num_heads` does not divide `latent_dim`.
    """
    if latent_dim % num_heads:
        raise ShapeError(
            f"A latent of width {latent_dim} does not split into {num_heads} heads (keys 'latent-dim' "
            "and 'num-heads' of the latent contract). Choose a width that is a multiple of the heads."
        )


def split_heads(values: Float[Tensor, "B T D"], num_heads: int) -> Float[Tensor, "B H T W"]:
    """Cut the last axis into heads and put them in front."""
    return values.unflatten(-1, (num_heads, -1)).transpose(1, 2)
