"""What every merge method promises."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Complex, Float, Float64
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


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What stands at one place in the blocks that count, each flat: float64, on the CPU.

    Args:
        tensors: One row per block; two blocks at least.
        shares: How much each counts; 1 in sum.
        start: The same place in the common start; zeros if none was given.
        grams: If the place is the weight matrix of a linear layer: what this layer was fed
            in each block, as `AbstractWeightMerge.combine` says.
    """

    tensors: Float64[Tensor, "N P"]
    shares: Float64[Tensor, "N"]
    start: Float64[Tensor, "P"]
    grams: Float64[Tensor, "N I I"] | None = None

    @property
    def changes(self) -> Float64[Tensor, "N P"]:
        """How far training moved each block from the common start."""
        return self.tensors - self.start

    def mean(self) -> Float64[Tensor, "P"]:
        """The straight average."""
        return self.shares @ self.tensors


class AbstractWeightMerge(Component):
    """Make one tensor of the tensors that stand at one place in several blocks.

    Guarantees:
        The order of the blocks does not matter. Where all weight is on one block there is
        nothing to merge, and its tensor comes back exactly. Equal tensors give that tensor;
        a method that works on changes from a common start promises this for tensors that
        equal the start. The result keeps shape, dtype and device. A block of weight 0 has
        no influence. The result is a constant: a merge is made once, and no gradient flows
        back through it.
    """

    needs_start: ClassVar[bool] = False  # works on changes from weights that all blocks began with
    needs_grams: ClassVar[bool] = False  # asks what the linear layers were fed

    @final
    def combine(
        self,
        tensors: Float[Tensor, "M *shape"],
        weights: Float[Tensor, "M"],
        *,
        start: Float[Tensor, "*shape"] | None = None,
        grams: Float[Tensor, "M I I"] | None = None,
    ) -> Float[Tensor, "*shape"]:
        """Merge M tensors of any one shape, scalars and empty ones included.

        Args:
            tensors: The tensor of each block. Not changed.
            weights: How much each block counts: zero or more, and 1 in sum.
            start: This tensor as all blocks had it before they went their own ways.
            grams: If the tensors are the (O, I) weights of a linear layer: per block, the
                mean over patients of x x^T, for the I inputs x of that layer. Other tensors
                have none, and are then averaged linearly by a method that asks for them.

        Raises:
            MergeError: If the weights are not such weights, if a tensor that counts holds a
                number that is not finite, if the method needs a start and none (or none that is
                finite) was given, or if a Gram matrix is not of the size of its layer.
        """
        if self.needs_start and start is None:
            raise MergeError(
                f"Merge method '{self.to_plain()['kind']}' works on changes from the weights that all blocks "
                "began with, and no start was given. Give the common start, or choose 'slerp' or 'linear'."
            )
        begun = torch.zeros_like(tensors[0]) if start is None else start.detach()
        if not bool(begun.isfinite().all()):
            raise MergeError(
                "The common start holds numbers that are not finite. Give the weights that all blocks "
                "began with."
            )
        kept, shares = rows_that_count(tensors, weights)
        rows = Rows(kept, shares, begun.cpu().double().flatten(), _grams_that_count(tensors, weights, grams))
        merged = self._merge(rows) if len(kept) > 1 else kept[0]
        return merged.to(tensors.dtype).to(tensors.device).reshape(tensors.shape[1:])

    @abstractmethod
    def _merge(self, rows: Rows) -> Float64[Tensor, "P"]:
        """Make one row of two or more."""


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


def _grams_that_count(
    tensors: Float[Tensor, "M *shape"], weights: Float[Tensor, "M"], grams: Float[Tensor, "M I I"] | None
) -> Float64[Tensor, "N I I"] | None:
    if grams is None:
        return None
    if tensors.ndim != 3 or grams.shape[-1] != tensors.shape[-1]:
        raise MergeError(
            f"Gram matrices of {grams.shape[-1]} inputs do not belong to a tensor of shape "
            f"{tuple(tensors.shape[1:])}. Give them with the (outputs, inputs) weights of their own layer."
        )
    return grams.detach().cpu().double()[weights.cpu() > 0]
