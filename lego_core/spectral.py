"""Between the signal domain and the frequency domain. The only file that knows Fourier.

Both transforms are two-dimensional, over latents and width, and orthonormal: they keep
lengths, so a latent may be normalised in either domain with the same result (Parseval).

`DOMAINS` are the two places where blocks may ask and merge. In the signal domain both
transforms are left out, to see what they are worth: a latent is then a complex tensor
without an imaginary part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

SMALLEST_POWER = 1e-12


def to_frequency(latent: Float[Tensor, "*B L D"]) -> Complex[Tensor, "*B L D"]:
    """Transform a real latent into its spectrum."""
    if not latent.numel():  # some libraries refuse to transform nothing
        return _without_imaginary_part(latent)
    return torch.fft.fft2(latent.float(), norm="ortho")


def to_signal(latent_freq: Complex[Tensor, "*B L D"]) -> Float[Tensor, "*B L D"]:
    """Transform a spectrum back; what is not the spectrum of a real latent is dropped."""
    if not latent_freq.numel():
        return _real_part(latent_freq)
    return torch.fft.ifft2(latent_freq, norm="ortho").real


def normalise_spectrum(latent_freq: Complex[Tensor, "B L D"]) -> Complex[Tensor, "B L D"]:
    """Give every patient's latent mean 0 and spread 1, read off its spectrum.

    The mean of a latent is its first coefficient, and by Parseval its spread is the
    power of all the others, so no trip to the signal domain is needed. A latent without
    any power stays zero.
    """
    first = torch.zeros(latent_freq.shape[-2:], dtype=torch.bool, device=latent_freq.device)
    first[0, 0] = True
    centred = latent_freq.masked_fill(first, 0)
    power = (centred.real.square() + centred.imag.square()).mean(dim=(-2, -1), keepdim=True)
    return centred * torch.rsqrt(power + SMALLEST_POWER)


def drop_phase(latent_freq: Complex[Tensor, "B L D"]) -> Complex[Tensor, "B L D"]:
    """Keep the real part only."""
    return _without_imaginary_part(latent_freq.real)


@dataclass(frozen=True, slots=True)
class Domain:
    """Where latents are while blocks ask and merge.

    Args:
        enter: From a real latent.
        leave: Back to a real latent.
        normalise: Mean 0 and spread 1 of every patient's latent, as seen in the signal domain.
    """

    enter: Callable[[Tensor], Tensor]
    leave: Callable[[Tensor], Tensor]
    normalise: Callable[[Tensor], Tensor]


def _without_imaginary_part(latent: Float[Tensor, "*B L D"]) -> Complex[Tensor, "*B L D"]:
    return torch.complex(latent.float(), torch.zeros_like(latent, dtype=torch.float32))


def _real_part(latent: Complex[Tensor, "*B L D"]) -> Float[Tensor, "*B L D"]:
    return latent.real


def _normalise_signal(latent: Complex[Tensor, "B L D"]) -> Complex[Tensor, "B L D"]:
    centred = latent.real - latent.real.mean(dim=(-2, -1), keepdim=True)
    power = centred.square().mean(dim=(-2, -1), keepdim=True)
    return _without_imaginary_part(centred * torch.rsqrt(power + SMALLEST_POWER))


DomainName = Literal["frequency", "signal"]
DOMAINS: dict[DomainName, Domain] = {
    "frequency": Domain(to_frequency, to_signal, normalise_spectrum),
    "signal": Domain(_without_imaginary_part, _real_part, _normalise_signal),
}
