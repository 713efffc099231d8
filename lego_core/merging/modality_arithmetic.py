"""The way from the common start: add up what each modality changed."""

from typing import ClassVar, Literal, final

from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from lego_core.merging._contract import AbstractWeightMerge, Rows


@final
class ModalityArithmetic(AbstractWeightMerge):
    """Go from the common start W0 along the mean change of the blocks: further or less far.

        W0 + strength * sum(w_m * (W_m - W0)),    with the weights w_m summing to 1

    So `strength` says how many times the mean change is made, whatever the number of
    blocks and their weights: 1 gives the average of the blocks, M (of M blocks of equal
    weight) the plain sum of their changes, 0 the start. The papers weigh no blocks and
    scale the sum; their lambda is `strength` / M.

    Args:
        strength: How far to go, from 0 up.

    Source:
        Sung et al. "An Empirical Study of Multimodal Model Merging." Findings of EMNLP
        2023. arXiv:2304.14933 (modality arithmetic). From tasks: Ilharco et al. "Editing
        Models with Task Arithmetic." ICLR 2023. arXiv:2212.04089.
    """

    needs_start: ClassVar[bool] = True

    kind: Literal["modality-arithmetic"] = "modality-arithmetic"
    strength: float = Field(default=1.0, ge=0)

    def _merge(self, rows: Rows) -> Float64[Tensor, "P"]:
        return rows.start + self.strength * (rows.shares @ rows.changes)
