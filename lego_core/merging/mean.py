"""The plain way: average the latents."""

from typing import Literal, final

from jaxtyping import Complex, Float
from torch import Tensor

from lego_core.merging._contract import AbstractLatentMerge, without_absent


@final
class Mean(AbstractLatentMerge):
    """Average the latents, as complex numbers, by their weights.

    Blocks whose phases disagree weaken one another. With one linear head for all blocks,
    the logits of the mean are the mean of the blocks' logits.

    Source:
        Kittler, Hatef, Duin, Matas. "On Combining Classifiers." IEEE Transactions on
        Pattern Analysis and Machine Intelligence 1998. doi:10.1109/34.667881 (sum rule).
    """

    kind: Literal["mean"] = "mean"

    def combine(
        self, latents_freq: Complex[Tensor, "M B L D"], weights: Float[Tensor, "M B"]
    ) -> Complex[Tensor, "B L D"]:
        """Merge M latents of each patient into one: sum of weight times latent."""
        shares = weights.to(latents_freq.real.dtype)[:, :, None, None]
        return (shares * without_absent(latents_freq, shares)).sum(dim=0)
