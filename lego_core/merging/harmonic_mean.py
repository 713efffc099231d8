"""The published way: harmonic mean of the magnitudes, mean of the phases."""

from typing import Literal, final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lego_core.merging._contract import AbstractLatentMerge, without_absent

CANCELLED_ULPS = 8


@final
class HarmonicMean(AbstractLatentMerge):
    """Merge magnitudes and phases apart, element by element.

    The magnitude is 1 / sum(w_m / |Z_m|): small as soon as one block has little to say at
    this frequency, so that no block shouts the others down. The phase is one of

    - `circular`: the direction of sum(w_m * Z_m / |Z_m|), the mean direction of circular
      statistics. It does not care where angles are cut, and takes any number of blocks.
    - `published`: sum(w_m * angle(Z_m)) with angles in (-pi, pi], as the paper prints it
      for two blocks. Two phases on either side of the cut, at +3.1 and -3.1, average to 0,
      the opposite direction.

    Args:
        phase: Which of the two.

    Guarantees:
        A present block that is zero at an element makes the result zero there: the limit
        of the formula. The gradient there is zero as well. Magnitudes below the smallest
        normal number of the dtype count as zero.
        Phasors that cancel (opposite signs of equal weight; a resultant within a few
        roundings of zero) have no mean direction, and `circular` gives zero there, with
        gradient zero. This is no rare case: at the four frequencies where the latent is
        purely real, two blocks disagree in sign about every second time. A head that reads
        the real part sees the same zero from `published`, whose phase is then pi / 2.
        `circular` turns with the latents: a common rotation of all rotates the result.
        `published` does not.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego: Model Merging and Fine-Tuning
        Across Topologies and Modalities in Biomedicine." ICLR 2025. arXiv:2405.19950,
        equation 3. Mean direction: Mardia, Jupp. "Directional Statistics." Wiley 2000.
        doi:10.1002/9780470316979.
    """

    kind: Literal["harmonic-mean"] = "harmonic-mean"
    phase: Literal["circular", "published"] = "circular"

    def combine(
        self, latents_freq: Complex[Tensor, "M B L D"], weights: Float[Tensor, "M B"]
    ) -> Complex[Tensor, "B L D"]:
        """Merge M latents of each patient into one: harmonic magnitude along the mean phase."""
        shares = weights.to(latents_freq.real.dtype)[:, :, None, None]
        held = shares > 0
        latents_freq = without_absent(latents_freq, shares)
        vanishing = latents_freq.abs() < torch.finfo(shares.dtype).tiny
        sizable = torch.where(vanishing, torch.ones_like(latents_freq), latents_freq)
        direction = _circular if self.phase == "circular" else _published
        merged = _harmonic(sizable.abs(), shares) * direction(sizable.sgn(), shares)
        merged = torch.where((vanishing & held).any(dim=0), torch.zeros_like(merged), merged)
        return torch.where(held.sum(dim=0) == 1, latents_freq.sum(dim=0), merged)


def _harmonic(magnitudes: Float[Tensor, "M B L D"], shares: Float[Tensor, "M B 1 1"]) -> Tensor:
    """1 / sum(w / |Z|), in units of the smallest |Z|, so that nothing overflows on the way."""
    unit = torch.where(shares > 0, magnitudes, torch.inf).detach().amin(dim=0)
    return unit / (shares * (unit / magnitudes)).sum(dim=0)


def _circular(phasors: Complex[Tensor, "M B L D"], shares: Float[Tensor, "M B 1 1"]) -> Tensor:
    resultant = (shares * phasors).sum(dim=0)
    cancelled = resultant.abs() <= CANCELLED_ULPS * torch.finfo(shares.dtype).eps
    return torch.where(cancelled, torch.zeros_like(resultant), resultant).sgn()


def _published(phasors: Complex[Tensor, "M B L D"], shares: Float[Tensor, "M B 1 1"]) -> Tensor:
    angle = (shares * phasors.angle()).sum(dim=0)
    return torch.polar(torch.ones_like(angle), angle)
