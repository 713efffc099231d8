"""What a run does against sites that are broken or hostile, beyond its aggregation."""

from collections.abc import Mapping
from typing import final

from pydantic import Field
from torch import Tensor

from lego_core.component import Component
from lego_core.errors import ProtocolError
from lego_core.update import BlockUpdate, to_vector

LARGEST_WEIGHT = 1e12  # a mean of a feature in odd units may be large
ROUNDING = 1e-3  # relative: what float32 and fixed point may add to a norm


@final
class Guard(Component):
    """Bounds that a run keeps.

    Args:
        norm_bound: Largest L2 norm of a site's update, per part of a model, where updates travel as
            they are: a site shortens a longer one, and the server puts away what is longer all
            the same. Where they are summed, the sum's `clip-norm` is this bound. None: no bound.
        worst_rise: By how much the federated validation loss may rise over the best so far, as a
            share of it, before a round is taken back. None: rounds are never taken back.

    Source:
        Norm bound: Sun, Kairouz, Suresh, McMahan. "Can You Really Backdoor Federated Learning?"
        2019. arXiv:1911.07963.
    """

    norm_bound: float | None = Field(default=None, gt=0)
    worst_rise: float | None = Field(default=None, ge=0)

    def is_too_bad(self, loss: float | None, *, best: float) -> bool:
        """Whether a validation loss is beyond the bound; never where nobody could judge."""
        if self.worst_rise is None or loss is None or best == float("inf"):
            return False
        return not loss <= best + self.worst_rise * abs(best)


def check_weights(tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that no training comes to, before any patient meets them.

    They would overflow for some patients and not for others, so that a site would tell, by what fails there,
    which patients it has.

    Raises:
        ProtocolError: With the name of the first.
    """
    for name, tensor in tensors.items():
        if not bool((tensor.abs() <= LARGEST_WEIGHT).all()):  # what is not a number fails here, too
            raise ProtocolError(
                f"The weights '{name}' that came hold numbers that are not finite, or beyond "
                f"{LARGEST_WEIGHT:g}. No data was opened. Lower the learning rate, or look at who sends "
                "such weights."
            )


def shortened(update: Mapping[str, Tensor], *, weight: float, bound: float) -> tuple[BlockUpdate, bool]:
    """An update no longer than a bound, and whether it had to be shortened.

    Args:
        update: What the patients of a site taught, as named tensors.
        weight: How many patients.
        bound: Largest L2 norm.
    """
    vector = to_vector(update)
    norm = float(vector.norm())
    if norm > bound:
        vector = vector * (bound / norm)
    return BlockUpdate(vector * weight, weight), norm > bound


def check_norm(update: BlockUpdate, *, bound: float, whose: str, key: str) -> None:
    """Refuse an update, of one site or the mean of several, that no faithful sites come to.

    Args:
        update: It.
        bound: Largest L2 norm.
        whose: For the error.
        key: Where the plan says the bound.

    Raises:
        ProtocolError: If it is longer than the bound.
    """
    norm = float(update.mean().norm())
    if not norm <= bound * (1 + ROUNDING):
        raise ProtocolError(
            f"{whose} has norm {norm:.3g}, and this run bounds it by {bound:g} at every site (key {key}). It "
            "was put aside; a site does not keep to the plan."
        )
