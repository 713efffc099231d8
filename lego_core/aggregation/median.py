"""The middle of the sites, parameter by parameter: nearly half of them may be broken or hostile."""

from collections.abc import Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.aggregation._contract import AbstractAggregation, ServerState, check_updates
from lego_core.errors import RunError
from lego_core.update import BlockUpdate

FEWEST = 3  # of two, the middle is their mean, and one of them moves it as far as it likes


@final
class Median(AbstractAggregation):
    """Take the middle value of each parameter, or the mean of the two middle ones.

    Every site counts the same, whatever number of patients it reports: a weight is a claim
    of the site, and a hostile one would claim many.

    Guarantees:
        Each parameter moves by no less than the smallest and no more than the largest value
        of the honest sites, as long as fewer than half of the sites are hostile. The order of
        updates never matters, bit for bit.
        Not private: the server must see each site's update, or the sum of each bucket of sites.

    Source:
        Yin, Chen, Ramchandran, Bartlett. "Byzantine-Robust Distributed Learning: Towards
        Optimal Statistical Rates." ICML 2018. arXiv:1803.01498, definition 1.
    """

    kind: Literal["median"] = "median"

    @property
    def needs_individual_updates(self) -> bool:
        """A sum has no middle."""
        return True

    @property
    def fewest_updates(self) -> int:
        """Of two there is no middle."""
        return FEWEST

    @property
    def proximal_strength(self) -> float:
        """Sites train without a proximal term."""
        return 0.0

    def aggregate(
        self, current: Float[Tensor, "P"], updates: Sequence[BlockUpdate], *, state: ServerState
    ) -> tuple[Float[Tensor, "P"], ServerState]:
        """Add the median of the sites' own mean updates; remember nothing.

        Raises:
            RunError: If there are fewer than three.
        """
        check_updates(current, updates)
        if len(updates) < FEWEST:
            raise RunError(
                f"The median of {len(updates)} updates guards against nobody, and {FEWEST} are needed. Wait "
                "for more sites, or choose aggregation 'fedavg'."
            )
        ordered = torch.stack([update.mean().double() for update in updates]).sort(dim=0).values
        middle = ordered[(len(updates) - 1) // 2 : len(updates) // 2 + 1].mean(dim=0)
        return (current + middle).to(current.dtype), state
