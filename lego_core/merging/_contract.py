"""What every merge method promises."""

from abc import abstractmethod

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from lego_core.component import Component
from lego_core.errors import MergeError


class AbstractLatentMerge(Component):
    """Make one latent of the latents of several blocks, for each patient of a batch.

    Guarantees:
        The order of the blocks does not matter. Equal latents give that latent. A patient
        with one block gets that block's latent exactly. Latents c times as large give a
        result c times as large. Gradients are finite wherever the latents of present
        blocks are.
    """

    @abstractmethod
    def combine(
        self, latents_freq: Complex[Tensor, "M B L D"], weights: Float[Tensor, "M B"]
    ) -> Complex[Tensor, "B L D"]:
        """Merge M latents of each patient into one.

        Args:
            latents_freq: The latents as their blocks left them, in the frequency domain.
            weights: How much each block counts for each patient: zero or more, and 1 in
                sum over the blocks; the caller sees to it, since nothing here may wait for
                the values of a tensor. Weight 0 says that the patient lacks the modality:
                whatever stands there, NaN included, touches neither value nor gradient.
        """


class AbstractWeightMerge(Component):
    """Make one tensor of the tensors that stand at one place in several blocks.

    Guarantees:
        The order of the blocks does not matter. Equal tensors give that tensor. The result
        keeps shape, dtype and device. A block of weight 0 has no influence. The result is a
        constant: a merge is made once, and no gradient flows back through it.
    """

    @abstractmethod
    def combine(
        self, tensors: Float[Tensor, "M *shape"], weights: Float[Tensor, "M"]
    ) -> Float[Tensor, "*shape"]:
        """Merge M tensors of any one shape, scalars and empty ones included.

        Args:
            tensors: The tensor of each block. Not changed.
            weights: How much each block counts: zero or more, and 1 in sum.

        Raises:
            MergeError: If the weights are not such weights, or if a tensor that counts
                holds a number that is not finite.
        """


def without_absent(latents_freq: Complex[Tensor, "M B L D"], shares: Float[Tensor, "M B 1 1"]) -> Tensor:
    """Put zeros where a patient lacks the modality, for values and gradients alike."""
    return torch.where(shares > 0, latents_freq, torch.zeros_like(latents_freq))


def rows_that_count(
    tensors: Float[Tensor, "M *shape"], weights: Float[Tensor, "M"]
) -> tuple[Float[Tensor, "N P"], Float[Tensor, "N"]]:
    """Check what is to be merged; give the blocks that count, flat, with their shares.

    Both in float64 and on the CPU, since not every accelerator has float64.

    Raises:
        MergeError: See `AbstractWeightMerge.combine`.
    """
    shares = weights.cpu().double()
    if not (bool((shares >= 0).all()) and abs(float(shares.sum()) - 1) < 1e-4):
        listed = [round(share, 6) for share in shares.tolist()]
        raise MergeError(
            f"Merge weights are zero or more and sum to 1, and these are {listed}. Divide each by their sum."
        )
    counts = shares > 0
    chosen = tensors.detach()[counts.to(tensors.device)]
    rows = chosen.cpu().double().reshape(len(chosen), tensors[0].numel())
    if not bool(rows.isfinite().all()):
        broken = int((~rows.isfinite().all(dim=1)).sum())
        raise MergeError(
            f"{broken} of {len(rows)} blocks hold numbers that are not finite, and a merge would spread "
            "them. Train these blocks again, or leave them out of the merge."
        )
    return rows, shares[counts] / shares[counts].sum()
