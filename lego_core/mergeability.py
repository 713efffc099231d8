"""How well blocks are likely to merge, from their weights alone, before any patient is scored.

Blocks merge when they still lie in one basin. The closer the mergeable weights of two
blocks, the better the chances; the sign measures tell most, since values of opposite sign
cancel in a merge whatever their size. It is a forecast, not a score: compare pairs of one
run with one another.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Literal, final

from jaxtyping import Float64
from torch import Tensor

from lego_core.component import Component
from lego_core.errors import MergeError
from lego_core.update import to_vector

TRUNCATED_FRACTION = 0.5
Measure = Literal["sign_dissimilarity", "truncated_sign_dissimilarity", "cosine_dissimilarity", "l2_distance"]


@final
class Mergeability(Component):
    """How far the weights x and y of two blocks lie apart; 0 is "the same" throughout.

    Args:
        l2_distance: |x - y|, from 0 up. Depends on the number of weights.
        cosine_dissimilarity: 1 - cos(x, y), in [0, 2]. Two blocks of zeros are the same
            (0); zeros and anything else are at right angles (1).
        sign_dissimilarity: The paper's SSD, 1 - mean of |x_i + y_i| / (|x_i| + |y_i|), in
            [0, 1]: 0 if all signs agree, 1 if all values cancel. Where both are zero there
            is no sign, and the pair is left out; 0 if nothing is left.
        truncated_sign_dissimilarity: The paper's TSSD, the same after the smaller half of
            each block's values was set to zero.

    Source:
        Sung, Li, Lin, Gan, Bansal, Wang. "An Empirical Study of Multimodal Model Merging."
        Findings of EMNLP 2023. arXiv:2304.14933, section 7.
    """

    l2_distance: float
    cosine_dissimilarity: float
    sign_dissimilarity: float
    truncated_sign_dissimilarity: float


def mergeability(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Mergeability:
    """Measure how far two blocks lie apart.

    Args:
        first: The mergeable weights of one block, by name; only floating tensors count.
        second: Those of the other: same names, same shapes.

    Raises:
        MergeError: If names or shapes differ.

    Guarantees:
        Symmetric: the order of the two does not matter.
    """
    _require_same_shapes(first, second)
    x, y = to_vector(first).double(), to_vector(second).double()
    return Mergeability(
        l2_distance=float((x - y).norm()),
        cosine_dissimilarity=_cosine_dissimilarity(x, y),
        sign_dissimilarity=_sign_dissimilarity(x, y),
        truncated_sign_dissimilarity=_sign_dissimilarity(_truncated(x), _truncated(y)),
    )


@final
class MergeabilityPair(Component):
    """The forecast for one pair of blocks, before any patient was scored."""

    first: str
    second: str
    forecast: Mergeability


def forecast(blocks: Mapping[str, Mapping[str, Tensor]]) -> list[MergeabilityPair]:
    """Measure every pair of blocks, in the order in which they are given.

    Args:
        blocks: The mergeable weights of each block, by modality.

    Raises:
        MergeError: If names or shapes differ.
    """
    return [
        MergeabilityPair(first=one, second=other, forecast=mergeability(blocks[one], blocks[other]))
        for one, other in combinations(blocks, 2)
    ]


def _cosine_dissimilarity(x: Float64[Tensor, "P"], y: Float64[Tensor, "P"]) -> float:
    lengths = float(x.norm() * y.norm())
    if lengths == 0:
        return float(bool(x.any()) or bool(y.any()))
    return 1 - max(-1.0, min(1.0, float(x @ y) / lengths))


def _sign_dissimilarity(x: Float64[Tensor, "P"], y: Float64[Tensor, "P"]) -> float:
    sizes = x.abs() + y.abs()
    kept = sizes > 0
    if not kept.any():
        return 0.0
    return 1 - float(((x + y).abs()[kept] / sizes[kept]).mean())


def _truncated(x: Float64[Tensor, "P"]) -> Float64[Tensor, "P"]:
    """Set the smaller half to zero; of values of one size, the first go first."""
    smallest = x.abs().argsort(stable=True)[: int(len(x) * TRUNCATED_FRACTION)]
    return x.index_fill(0, smallest, 0.0)


def _require_same_shapes(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    lonely = sorted(set(first) ^ set(second))
    if lonely:
        raise MergeError(
            f"Blocks can only be compared tensor by tensor, and {len(lonely)} tensors are in one of the two "
            f"alone, the first '{lonely[0]}'. Compare blocks of the same latent contract."
        )
    for name, tensor in first.items():
        if tensor.shape != second[name].shape:
            raise MergeError(
                f"Tensor '{name}' is {list(tensor.shape)} in one block and {list(second[name].shape)} in the "
                "other. Compare blocks of the same latent contract."
            )
