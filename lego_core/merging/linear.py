"""The straight way between blocks: average the weights."""

from typing import Literal, final

from jaxtyping import Float64
from torch import Tensor

from lego_core.merging._contract import AbstractWeightMerge, Rows


@final
class Linear(AbstractWeightMerge):
    """Interpolate on the straight line between the blocks: sum of weight times tensor.

    Computed in float64, returned in the dtype of the tensors. Blocks that point in
    different directions give a tensor shorter than either; `slerp` keeps the length.

    Source:
        Utans. "Weight averaging for neural networks and local resampling schemes." AAAI
        1996 workshop. For modalities: Sung et al. "An Empirical Study of Multimodal Model
        Merging." Findings of EMNLP 2023. arXiv:2304.14933 (interpolation).
    """

    kind: Literal["linear"] = "linear"

    def _merge(self, rows: Rows) -> Float64[Tensor, "P"]:
        return rows.mean()
