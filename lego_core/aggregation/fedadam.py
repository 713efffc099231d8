"""Adam at the server: the mean update is taken for a gradient."""

from collections.abc import Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from lego_core.aggregation._contract import AbstractAggregation, ServerState, weighted_mean
from lego_core.errors import ShapeError
from lego_core.update import BlockUpdate


@final
class FedAdam(AbstractAggregation):
    """Give every parameter a step of its own, from the rounds so far.

        first  = first_decay  * first  + (1 - first_decay)  * mean update
        second = second_decay * second + (1 - second_decay) * mean update^2
        weights = weights + server_learning_rate * first / (sqrt(second) + adaptivity)

    Before the first round, first is 0 and second is adaptivity^2. As in the paper, and
    unlike Adam, there is no correction for this start: in the first round a parameter
    whose update is far above `adaptivity` moves by about the learning rate (with the
    defaults: 0.1 * update / sqrt(0.01 * update^2)), and one whose update is far below it
    moves by about 0.05 * server_learning_rate / adaptivity times its update.

    Args:
        server_learning_rate: The paper's eta, which it tunes for every task; 0.01 is only
            our start. It is the size of a step, not a part of the way as in FedAvg.
        first_decay: The paper's beta 1.
        second_decay: The paper's beta 2.
        adaptivity: The paper's tau: updates well below it are not scaled up.

    Guarantees:
        The sum of the updates gives what the updates give one by one.

    Source:
        Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan. "Adaptive Federated
        Optimization." ICLR 2021. arXiv:2003.00295, algorithm 2, with the mean over sites
        weighted by patients.
    """

    kind: Literal["fedadam"] = "fedadam"
    server_learning_rate: float = Field(default=0.01, gt=0)
    first_decay: float = Field(default=0.9, ge=0, lt=1)
    second_decay: float = Field(default=0.99, ge=0, lt=1)
    adaptivity: float = Field(default=1e-3, gt=0)

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
        """Take one Adam step along the weighted mean update; remember both moments."""
        update = weighted_mean(current, updates)
        first, second = self._moments(state, size=len(current))
        first = self.first_decay * first + (1 - self.first_decay) * update
        second = self.second_decay * second + (1 - self.second_decay) * update**2
        step = self.server_learning_rate * first / (second.sqrt() + self.adaptivity)
        remembered = ServerState(state.step + 1, {"first": first, "second": second})
        return (current + step).to(current.dtype), remembered

    def _moments(self, state: ServerState, *, size: int) -> tuple[Tensor, Tensor]:
        if not state.moments:
            start = torch.zeros(size, dtype=torch.float64)
            return start, start + self.adaptivity**2
        first, second = state.moments["first"], state.moments["second"]
        if not len(first) == len(second) == size:
            raise ShapeError(
                f"The moments of FedAdam are of {len(first)} and {len(second)} parameters and the block has "
                f"{size}. Go on from a checkpoint of the same plan, or start the run anew."
            )
        return first, second
