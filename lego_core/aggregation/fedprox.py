"""FedAvg for sites that differ much: each is held close to the global weights while it trains."""

from collections.abc import Sequence
from typing import Literal, final

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from lego_core.aggregation._contract import AbstractAggregation, ServerState, weighted_mean
from lego_core.update import BlockUpdate


@final
class FedProx(AbstractAggregation):
    """Take the weighted mean of sites that trained with a proximal term.

    Each site adds strength / 2 * |weights - global weights|^2 to its loss, so that no site
    drifts far in one round. The server does what FedAvg does.

    Args:
        strength: The paper's mu. It tries 0.001, 0.01, 0.1 and 1; 0 is FedAvg.

    Guarantees:
        The sum of the updates gives what the updates give one by one.

    Source:
        Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith. "Federated Optimization in
        Heterogeneous Networks." MLSys 2020. arXiv:1812.06127.
    """

    kind: Literal["fedprox"] = "fedprox"
    strength: float = Field(default=0.01, ge=0)

    @property
    def needs_individual_updates(self) -> bool:
        """The sum is enough."""
        return False

    @property
    def proximal_strength(self) -> float:
        """The strength of the sites' proximal term."""
        return self.strength

    def aggregate(
        self, current: Float[Tensor, "P"], updates: Sequence[BlockUpdate], *, state: ServerState
    ) -> tuple[Float[Tensor, "P"], ServerState]:
        """Add the weighted mean update; remember nothing."""
        return (current + weighted_mean(current, updates)).to(current.dtype), state
