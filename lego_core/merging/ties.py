"""The way of few and agreeing changes: trim, elect a sign, average those that agree."""

from math import ceil
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from lego_core.merging._contract import AbstractWeightMerge, Rows

CANCELLED = 1e-12  # relative; beyond the rounding of a sum in float64, so that no order of blocks decides


@final
class Ties(AbstractWeightMerge):
    """Let blocks that pull a weight in opposite directions vote, instead of cancelling one another.

    Of each block's change from the common start only the largest values are kept (trim).
    For every weight of the tensor, the sign with the larger weighted sum of changes wins
    (elect), and the weighted mean of the changes of that sign is made (disjoint mean),
    `strength` times. The paper trims a model as a whole; here each tensor is trimmed by
    itself, so that a tensor of small values keeps its largest.

    Args:
        density: Share of each block's changes that is kept, in (0, 1]; values as large as
            the smallest kept one are kept too, and one value at least.
        strength: How many times the mean change is made; the paper's lambda.

    Guarantees:
        A weight whose changes cancel, with no sign left that outweighs the other, stays as
        it was at the start.

    Source:
        Yadav, Tam, Choshen, Raffel, Bansal. "TIES-Merging: Resolving Interference When
        Merging Models." NeurIPS 2023. arXiv:2306.01708.
    """

    needs_start: ClassVar[bool] = True

    kind: Literal["ties"] = "ties"
    density: float = Field(default=0.2, gt=0, le=1)
    strength: float = Field(default=1.0, ge=0)

    def _merge(self, rows: Rows) -> Float64[Tensor, "P"]:
        shares = rows.shares[:, None]
        changes = self._trim(rows.changes)
        votes = (shares * changes).sum(dim=0)
        cancelled = votes.abs() <= CANCELLED * (shares * changes.abs()).sum(dim=0)
        elected = votes.sign().masked_fill(cancelled, 0)
        agreeing = shares * ((changes.sign() == elected) & (elected != 0))
        mean = (agreeing * changes).sum(dim=0) / agreeing.sum(dim=0).clamp_min(
            torch.finfo(torch.float64).tiny
        )
        return rows.start + self.strength * mean

    def _trim(self, changes: Float64[Tensor, "N P"]) -> Float64[Tensor, "N P"]:
        if not changes.shape[1]:
            return changes
        kept = ceil(self.density * changes.shape[1])
        smallest_kept = changes.abs().topk(kept, dim=1).values[:, -1:]
        return changes * (changes.abs() >= smallest_kept)
