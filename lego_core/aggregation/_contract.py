"""What every aggregation promises: updates of one block from several sites, one step of its weights."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.component import Component
from lego_core.errors import RunError, ShapeError
from lego_core.update import BlockUpdate


@dataclass(frozen=True, slots=True, eq=False)
class ServerState:
    """What a rule remembers of one block from round to round. A block starts with an empty one.

    Args:
        step: Number of rounds that have been aggregated by a rule that counts them.
        moments: Vectors of P parameters by name; empty for rules without memory.
    """

    step: int = 0
    moments: Mapping[str, Float[Tensor, "P"]] = field(default_factory=dict)

    def to_tensors(self) -> dict[str, Tensor]:
        """Give the state as named tensors, as a checkpoint holds it."""
        moments = {f"moment.{name}": moment for name, moment in self.moments.items()}
        return {"step": torch.tensor(self.step), **moments}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "ServerState":
        """Read what `to_tensors` gave."""
        moments = {name.removeprefix("moment."): tensors[name] for name in tensors if name != "step"}
        return cls(int(tensors["step"]), moments)


class AbstractAggregation(Component):
    """How the updates of one block, from the sites of one round, change its global weights.

    Guarantees:
        Nothing that is passed in is changed. The result keeps the dtype of `current`.
        Equal updates count as one of them. The order of updates matters at most in the
        last bit of a float64 sum; the caller sorts them by site, so that a run can be
        repeated bit for bit.
    """

    @property
    @abstractmethod
    def needs_individual_updates(self) -> bool:
        """Whether the sum over sites is not enough: such a rule excludes a secure sum."""

    @property
    def fewest_updates(self) -> int:
        """Fewest updates that the rule can compare; a sum counts as one."""
        return 1

    @property
    @abstractmethod
    def proximal_strength(self) -> float:
        """The mu of the term mu / 2 * |weights - global weights|^2 in each site's loss; 0 for none."""

    @abstractmethod
    def aggregate(
        self, current: Float[Tensor, "P"], updates: Sequence[BlockUpdate], *, state: ServerState
    ) -> tuple[Float[Tensor, "P"], ServerState]:
        """Give the next global weights, and what to remember for the next round.

        Args:
            current: The global weights that the sites started from.
            updates: One per site, or their sum as one, unless `needs_individual_updates`.
            state: What this method gave in the round before; `ServerState()` at first.

        Raises:
            RunError: If there is no update, if no patient stands behind them, or if one
                holds a number that is not finite.
            ShapeError: If an update or the state has another number of parameters.
        """


def check_updates(current: Float[Tensor, "P"], updates: Sequence[BlockUpdate]) -> None:
    """Refuse updates that would spoil the global weights.

    Raises:
        RunError: If there is none, or one holds a number that is not finite.
        ShapeError: If one has another number of parameters.
    """
    if not updates:
        raise RunError("There is no update to aggregate: no site answered. Repeat the round.")
    for update in updates:
        if len(update.total) != len(current):
            raise ShapeError(
                f"An update of {len(update.total)} parameters does not fit a block of {len(current)}. "
                "All sites of a block need the same plan and the same version of lego_core."
            )
    broken = sum(not bool(update.total.isfinite().all()) for update in updates)
    if broken:
        raise RunError(
            f"{broken} of {len(updates)} updates hold numbers that are not finite, and would spoil the "
            "block for every site. Lower training.learning-rate, or look for broken values at the sites."
        )


def weighted_mean(current: Float[Tensor, "P"], updates: Sequence[BlockUpdate]) -> Float[Tensor, "P"]:
    """Average the updates by their weights, in float64; needs no more than their sum.

    Raises:
        RunError: As `check_updates`, and if the weights sum to zero.
        ShapeError: As `check_updates`.
    """
    check_updates(current, updates)
    return sum(updates, start=BlockUpdate.zero(len(current))).mean()
