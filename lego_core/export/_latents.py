"""How latents of several blocks become one, without complex numbers."""

import torch
from torch import Tensor

from lego_core.errors import ExportError
from lego_core.export._pair import Pair
from lego_core.merging import HarmonicMean, LatentMerge, Mean
from lego_core.merging.harmonic_mean import CANCELLED_ULPS

TINY = torch.finfo(torch.float32).tiny
EPS = torch.finfo(torch.float32).eps


def combine(method: LatentMerge, latents_freq: Pair, shares: Tensor) -> Pair:
    """Merge M latents of each patient into one, as the method itself does.

    Args:
        method: The method.
        latents_freq: (M, B, L, D).
        shares: (M, B), 1 in sum over the blocks; 0 where a patient lacks the modality.

    Raises:
        ExportError: If the method has no form without complex numbers.
    """
    weights = shares[:, :, None, None]
    held = weights > 0
    nothing = torch.zeros_like(latents_freq.real)
    latents_freq = latents_freq.where(held, Pair(nothing, nothing))
    if isinstance(method, Mean):
        return Pair((weights * latents_freq.real).sum(dim=0), (weights * latents_freq.imag).sum(dim=0))
    if isinstance(method, HarmonicMean):
        return _harmonic_mean(method, latents_freq, weights, held)
    raise ExportError(
        f"Merge method '{method.kind}' has no form without complex numbers, and ONNX has none. Export the "
        "blocks one by one (--modality), or merge by 'harmonic-mean' or 'mean'."
    )


def _harmonic_mean(method: HarmonicMean, latents_freq: Pair, weights: Tensor, held: Tensor) -> Pair:
    sizes = _size(latents_freq)
    vanishing = sizes < TINY
    sizes = torch.where(vanishing, 1.0, sizes)
    one, nothing = torch.ones_like(sizes), torch.zeros_like(sizes)
    phasors = Pair(latents_freq.real / sizes, latents_freq.imag / sizes)
    phasors = Pair(one, nothing).where(vanishing, phasors)
    unit = torch.where(held, sizes, torch.inf).amin(dim=0)
    size = unit / (weights * (unit / sizes)).sum(dim=0)
    direction = _circular if method.phase == "circular" else _published
    towards = direction(phasors, weights)
    gone = (vanishing & held).any(dim=0)
    size = torch.where(gone, 0.0, size)
    merged = Pair(size * towards.real, size * towards.imag)
    alone = held.to(weights.dtype).sum(dim=0) < 1.5
    return Pair(latents_freq.real.sum(dim=0), latents_freq.imag.sum(dim=0)).where(alone, merged)


def _circular(phasors: Pair, weights: Tensor) -> Pair:
    real, imag = (weights * phasors.real).sum(dim=0), (weights * phasors.imag).sum(dim=0)
    size = _size(Pair(real, imag))
    cancelled = size <= CANCELLED_ULPS * EPS
    size = torch.where(cancelled, 1.0, size)
    return Pair(torch.where(cancelled, 0.0, real / size), torch.where(cancelled, 0.0, imag / size))


def _published(phasors: Pair, weights: Tensor) -> Pair:
    angle = (weights * torch.atan2(phasors.imag, phasors.real)).sum(dim=0)
    return Pair(angle.cos(), angle.sin())


def _size(pair: Pair) -> Tensor:
    """Absolute values, in units of the larger part, so that no square vanishes or overflows."""
    larger = torch.maximum(pair.real.abs(), pair.imag.abs())
    unit = torch.where(larger < TINY, 1.0, larger)
    return torch.where(
        larger < TINY, 0.0, unit * ((pair.real / unit).square() + (pair.imag / unit).square()).sqrt()
    )
