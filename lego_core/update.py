"""What one site teaches a block: a vector with a weight, and the way from names to a vector and back.

A block's weights are many named tensors; an update is one vector, because clipping, masking
and summing know nothing of names. Names are sorted, so every site makes the same vector of
the same block.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.errors import RunError, ShapeError


@dataclass(frozen=True, slots=True, eq=False)
class BlockUpdate:
    """New weights minus global weights, times how much they count; from one site or summed over several.

    Updates add like vectors: the total and the weight of a sum are the sums of the totals
    and of the weights. A server therefore needs only the sum, and `mean` gives the same
    average whether it saw the sites one by one or not.

    Args:
        total: Weight times (new weights - global weights), over P parameters. Sums are
            float64, so that they lose nothing that a float32 model could show.
        weight: How much it counts, usually the number of patients it was learned from.

    Guarantees:
        Adding is commutative and associative up to the rounding of float64, and
        `zero` changes nothing. Parts are never changed by adding.
    """

    total: Float[Tensor, "P"]
    weight: float

    @classmethod
    def zero(cls, size: int) -> "BlockUpdate":
        """Start a sum: nothing learned from nobody, over `size` parameters."""
        return cls(torch.zeros(size, dtype=torch.float64), 0.0)

    @classmethod
    def between(
        cls, current: Float[Tensor, "P"], trained: Float[Tensor, "P"], *, weight: float
    ) -> "BlockUpdate":
        """Record the way from the global weights to the weights a site has trained.

        Raises:
            ShapeError: If the two do not have the same number of parameters.
        """
        _require_same_size(current, trained)
        return cls((trained.double() - current.double()) * weight, weight)

    def __add__(self, other: "BlockUpdate") -> "BlockUpdate":
        _require_same_size(self.total, other.total)
        return BlockUpdate(self.total.double() + other.total.double(), self.weight + other.weight)

    def mean(self) -> Float[Tensor, "P"]:
        """Give the weighted mean of what the sites learned: the total over the weight.

        Raises:
            RunError: If the weight is not a positive number, so that there is no mean.
        """
        if not 0 < self.weight < float("inf"):
            raise RunError(
                f"An update of weight {self.weight:g} has no mean: no patient stands behind it. "
                "Leave sites without patients out of the round."
            )
        return self.total / self.weight


def to_vector(named: Mapping[str, Tensor]) -> Float[Tensor, "P"]:
    """Lay named tensors end to end, sorted by name, as one detached float32 vector.

    Tensors that are not floating (counters, indices) are nothing to average and are left out.
    """
    parts = [named[name].detach().reshape(-1).float() for name in _floating(named)]
    return torch.cat(parts) if parts else torch.zeros(0)


def to_named(vector: Float[Tensor, "P"], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Cut a vector into the tensors it was made of: the inverse of `to_vector`.

    Args:
        vector: P numbers in the order of `to_vector`.
        like: Names, shapes, dtypes and devices to give back. Tensors that are not floating
            are copied from here.

    Returns:
        New tensors, in the order of `like`; none shares memory with the arguments.

    Raises:
        ShapeError: If the vector is longer or shorter than the floating tensors together.
    """
    names = _floating(like)
    sizes = [like[name].numel() for name in names]
    if sum(sizes) != len(vector):
        raise ShapeError(
            f"A vector of {len(vector)} numbers does not fill tensors of {sum(sizes)} numbers. "
            "Use the vector with the block it was made of."
        )
    named = {name: tensor.detach().clone() for name, tensor in like.items()}
    for name, part in zip(names, vector.detach().split(sizes), strict=True):
        named[name] = part.reshape(like[name].shape).to(like[name], copy=True)
    return named


def _floating(named: Mapping[str, Tensor]) -> list[str]:
    return sorted(name for name, tensor in named.items() if tensor.is_floating_point())


def _require_same_size(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ShapeError(
            f"Updates of {len(first)} and of {len(second)} parameters do not belong to the same block. "
            "Train, sum and average one block at a time."
        )
