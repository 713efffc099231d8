"""The way of least squares: a linear layer that answers each modality's inputs as its own layer did."""

from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from lego_core.merging._contract import AbstractWeightMerge, Rows

FAINTEST = 1e-6  # of the largest mean square; below it stands the rounding of activations


@final
class RegMean(AbstractWeightMerge):
    """Merge linear layers so that their answers change least, over the patients of every block.

    With G_m the mean of x x^T over the inputs x of the layer in block m, the merged weights
    minimise sum(w_m * mean |W x - W_m x|^2), and have the closed form

        W^T = sum(w_m * G_m)^-1  sum(w_m * G_m W_m^T)

    The part of G_m off its diagonal is first scaled by `gamma`: 1 trusts the correlations
    between inputs, 0 looks only at how large each input is. What is no weight matrix of a
    linear layer (biases, norms, the latent) has no Gram matrix, and is averaged linearly.

    Args:
        gamma: How much of the correlations to keep, in [0, 1].

    Guarantees:
        With `gamma` 1 no other weights have a smaller sum of squared differences, but for
        directions in which all inputs are a thousand times smaller than elsewhere.
        These, directions that the inputs of no block have, and layers that no patient has passed,
        say nothing about the weights, and are averaged linearly.

    Source:
        Jin, Ren, Preotiuc-Pietro, Cheng. "Dataless Knowledge Fusion by Merging Weights of
        Language Models." ICLR 2023. arXiv:2212.09849. For modalities: Sung et al. "An
        Empirical Study of Multimodal Model Merging." Findings of EMNLP 2023.
        arXiv:2304.14933.
    """

    needs_grams: ClassVar[bool] = True

    kind: Literal["regmean"] = "regmean"
    gamma: float = Field(default=0.9, ge=0, le=1)

    def _merge(self, rows: Rows) -> Float64[Tensor, "P"]:
        average = rows.mean()
        if rows.grams is None or not rows.grams.numel():
            return average
        inputs = rows.grams.shape[-1]
        grams = rows.shares[:, None, None] * self._damped(rows.grams)
        apart = (rows.tensors - average).unflatten(-1, (-1, inputs))  # what an average gets wrong
        pull = (grams @ apart.mT).sum(dim=0)
        step = torch.linalg.pinv(grams.sum(dim=0), rtol=FAINTEST, hermitian=True) @ pull
        return average + step.mT.flatten()

    def _damped(self, grams: Float64[Tensor, "N I I"]) -> Float64[Tensor, "N I I"]:
        sizes = torch.diag_embed(grams.diagonal(dim1=-2, dim2=-1))
        return self.gamma * grams + (1 - self.gamma) * sizes
