"""Complex latents as two real tensors, and the Fourier transform as products of matrices.

ONNX has no complex numbers that programs agree on. Orthonormal matrices of cosines and sines
say the same: with F = C - iS the transform of X is F X F, and the way back is its conjugate.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.spectral import SMALLEST_POWER

ROUNDING = 1e-12  # sines that are zero but for rounding, so that a real coefficient stays real


@dataclass(frozen=True, slots=True)
class Pair:
    """A complex tensor.

    Shapes:
        real  any
        imag  the same
    """

    real: Tensor
    imag: Tensor

    def where(self, chosen: Tensor, other: "Pair") -> "Pair":
        """This one where chosen, the other one elsewhere."""
        return Pair(torch.where(chosen, self.real, other.real), torch.where(chosen, self.imag, other.imag))


class RealFourier(nn.Module):
    """The two-dimensional orthonormal transform of latents of one size, and its inverse.

    Args:
        num_latents: Number of latents L.
        latent_dim: Width D.
    """

    def __init__(self, num_latents: int, latent_dim: int) -> None:
        super().__init__()
        self.row_cos, self.row_sin = (nn.Buffer(one) for one in _waves(num_latents))
        self.column_cos, self.column_sin = (nn.Buffer(one) for one in _waves(latent_dim))

    def enter(self, latent: Float[Tensor, "B L D"]) -> Pair:
        """Transform a real latent into its spectrum."""
        cos, sin = self.row_cos @ latent, self.row_sin @ latent
        real = cos @ self.column_cos - sin @ self.column_sin
        return Pair(real, -(cos @ self.column_sin + sin @ self.column_cos))

    def leave(self, latent_freq: Pair) -> Float[Tensor, "B L D"]:
        """Transform a spectrum back; what is not the spectrum of a real latent is dropped."""
        cos, sin = self.row_cos @ latent_freq.real, self.row_sin @ latent_freq.real
        from_real = cos @ self.column_cos - sin @ self.column_sin
        cos, sin = self.row_cos @ latent_freq.imag, self.row_sin @ latent_freq.imag
        return from_real - (cos @ self.column_sin + sin @ self.column_cos)


class NoFourier(nn.Module):
    """For latents that stay in the signal domain: a pair without an imaginary part."""

    def enter(self, latent: Float[Tensor, "B L D"]) -> Pair:
        """Leave it as it is."""
        return Pair(latent, torch.zeros_like(latent))

    def leave(self, latent: Pair) -> Float[Tensor, "B L D"]:
        """Leave it as it is."""
        return latent.real


def normalise_spectrum(latent_freq: Pair) -> Pair:
    """Mean 0 and spread 1 of every patient's latent, read off its spectrum."""
    shape = latent_freq.real.shape[-2:]
    others = torch.ones(shape)
    others[0, 0] = 0.0
    real, imag = latent_freq.real * others, latent_freq.imag * others
    power = (real.square() + imag.square()).mean(dim=(-2, -1), keepdim=True)
    scale = torch.rsqrt(power + SMALLEST_POWER)
    return Pair(real * scale, imag * scale)


def normalise_signal(latent: Pair) -> Pair:
    """Mean 0 and spread 1 of every patient's latent in the signal domain."""
    centred = latent.real - latent.real.mean(dim=(-2, -1), keepdim=True)
    scale = torch.rsqrt(centred.square().mean(dim=(-2, -1), keepdim=True) + SMALLEST_POWER)
    return Pair(centred * scale, torch.zeros_like(centred))


def _waves(size: int) -> tuple[Tensor, Tensor]:
    index = torch.arange(size, dtype=torch.float64)
    angle = 2 * math.pi * (index[:, None] * index % size) / size
    sine = angle.sin()
    sine[sine.abs() < ROUNDING] = 0.0
    return tuple((wave / math.sqrt(size)).float() for wave in (angle.cos(), sine))  # type: ignore[return-value]
