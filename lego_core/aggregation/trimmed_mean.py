"""A mean that a few broken or hostile sites cannot move far."""

from collections.abc import Sequence
from math import ceil, floor
from typing import Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from lego_core.aggregation._contract import AbstractAggregation, ServerState, check_updates
from lego_core.errors import RunError
from lego_core.update import BlockUpdate

ROUNDING = 1e-9


@final
class TrimmedMean(AbstractAggregation):
    """Leave out the largest and smallest values of each parameter, and average the others.

    Every site counts the same, whatever number of patients it reports: a weight is a claim
    of the site, and a hostile one would claim many.

    Args:
        trim_fraction: Part of the sites to leave out on either side, below 1/2, rounded
            down to whole sites. As many hostile sites can be borne.

    Guarantees:
        Each parameter moves by no less than the smallest and no more than the largest value
        of the honest sites, as long as no more sites are hostile than are left out on one
        side. The order of updates never matters, bit for bit.
        Not private: the server must see each site's update.

    Source:
        Yin, Chen, Ramchandran, Bartlett. "Byzantine-Robust Distributed Learning: Towards
        Optimal Statistical Rates." ICML 2018. arXiv:1803.01498, definition 2.
    """

    kind: Literal["trimmed-mean"] = "trimmed-mean"
    trim_fraction: float = Field(default=0.2, gt=0, lt=0.5)

    @property
    def needs_individual_updates(self) -> bool:
        """A sum cannot be trimmed."""
        return True

    @property
    def fewest_updates(self) -> int:
        """As many as leave one out on either side."""
        return ceil(1 / self.trim_fraction - ROUNDING)

    @property
    def proximal_strength(self) -> float:
        """Sites train without a proximal term."""
        return 0.0

    def aggregate(
        self, current: Float[Tensor, "P"], updates: Sequence[BlockUpdate], *, state: ServerState
    ) -> tuple[Float[Tensor, "P"], ServerState]:
        """Add the trimmed mean of the sites' own mean updates; remember nothing.

        Raises:
            RunError: If the sites are too few for one to be left out on either side.
        """
        check_updates(current, updates)
        trimmed = floor(self.trim_fraction * len(updates) + ROUNDING)
        if not trimmed:
            raise RunError(
                f"With {len(updates)} sites and trim-fraction {self.trim_fraction:g} no site would be left "
                f"out, so nothing would be guarded. Wait for {self.fewest_updates} sites, or raise "
                "aggregation.trim-fraction."
            )
        ordered = torch.stack([update.mean().double() for update in updates]).sort(dim=0).values
        step = ordered[trimmed : len(updates) - trimmed].mean(dim=0)
        return (current + step).to(current.dtype), state
