"""The way of chance: drop most changes, enlarge the others, then average."""

import hashlib
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from lego_core.merging._contract import AbstractWeightMerge, Rows


@final
class Dare(AbstractWeightMerge):
    """Drop changes from the common start at random and rescale the rest, before they are averaged.

    Every value of a block's change is dropped with probability `drop_rate`; those that stay
    are divided by 1 - `drop_rate`, so that over many seeds the result is the average of the
    blocks. Fewer weights are then changed by several blocks at once.

    Args:
        drop_rate: Probability of dropping a value, in [0, 1).
        seed: Another seed, other values dropped.

    Guarantees:
        Repeatable: which values are dropped follows from the seed and from the change
        itself, not from the place of the block among the others or from any state. Equal
        changes lose the same values, and a change that differs in one bit loses others.

    Source:
        Yu, Yu, Yu, Huang, Li. "Language Models are Super Mario: Absorbing Abilities from
        Homologous Models as a Free Lunch." ICML 2024. arXiv:2311.03099.
    """

    needs_start: ClassVar[bool] = True

    kind: Literal["dare"] = "dare"
    drop_rate: float = Field(default=0.5, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)

    def _merge(self, rows: Rows) -> Float64[Tensor, "P"]:
        thinned = torch.stack([self._thin(change) for change in rows.changes])
        return rows.start + rows.shares @ thinned

    def _thin(self, change: Float64[Tensor, "P"]) -> Float64[Tensor, "P"]:
        digest = hashlib.sha256(f"{self.seed}/".encode() + change.numpy().tobytes()).digest()
        chance = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
        kept = torch.rand(change.shape, dtype=torch.float64, generator=chance) >= self.drop_rate
        return torch.where(kept, change / (1 - self.drop_rate), 0.0)
