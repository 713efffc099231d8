"""The ordinary way: the weighted mean of what the sites learned."""

from collections.abc import Sequence
from typing import Literal, final

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from lego_core.aggregation._contract import AbstractAggregation, ServerState, weighted_mean
from lego_core.update import BlockUpdate


@final
class FedAvg(AbstractAggregation):
    """Go the mean way of the sites, weighted by their numbers of patients.

    Args:
        server_learning_rate: How much of the mean way to go; 1 is the mean of the sites'
            weights.

    Guarantees:
        The sum of the updates gives what the updates give one by one.

    Source:
        McMahan, Moore, Ramage, Hampson, Aguera y Arcas. "Communication-Efficient Learning
        of Deep Networks from Decentralized Data." AISTATS 2017. arXiv:1602.05629.
    """

    kind: Literal["fedavg"] = "fedavg"
    server_learning_rate: float = Field(default=1.0, gt=0)

    @property
    def needs_individual_updates(self) -> bool:
        """The sum is enough."""
        return False

    @property
    def proximal_strength(self) -> float:
        """Sites train without a proximal term."""
        return 0.0

    def aggregate(
        self, current: Float[Tensor, "P"], updates: Sequence[BlockUpdate], *, state: ServerState
    ) -> tuple[Float[Tensor, "P"], ServerState]:
        """Add the weighted mean update, times the learning rate; remember nothing."""
        step = self.server_learning_rate * weighted_mean(current, updates)
        return (current + step).to(current.dtype), state
