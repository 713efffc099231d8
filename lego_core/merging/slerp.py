"""The way along the sphere: direction and length of the weights merged apart."""

from typing import Literal, final

import torch
from jaxtyping import Float64
from torch import Tensor

from lego_core.merging._contract import AbstractWeightMerge, Rows

CLOSE_TO_OPPOSITE_RADIANS = 1e-3
CONVERGED = 1e-12
MAX_ITERATIONS = 1000


@final
class Slerp(AbstractWeightMerge):
    """Merge tensors along the great circle between them.

    Each tensor, read as one long vector, has a direction and a length. The length of the
    result is the weighted mean of the lengths. Its direction is the weighted spherical
    (Karcher) mean of the directions: the point of the sphere from which the weighted sum
    of the arcs towards all of them is zero. For two blocks that is Shoemake's slerp; for
    more it does not depend on their order, as slerps of slerps would.

    Everything is computed in float64 and returned in the dtype of the tensors.

    Guarantees:
        Parallel tensors are interpolated linearly, which is slerp's limit.
        Three cases have no mean direction, and fall back to `linear`, for this tensor
        alone, so that a merge always comes to an end: a tensor of zeros that counts (a
        fresh bias has no direction); tensors that are opposite or cancel, to within
        1e-3 (no great circle is shorter than the others; this includes numbers of
        opposite sign, so scalars are always merged linearly); and directions so widely
        spread, beyond a common half sphere, that the iteration does not settle.

    Source:
        Shoemake. "Animating Rotation with Quaternion Curves." SIGGRAPH 1985.
        doi:10.1145/325334.325242. More than two: Buss, Fillmore. "Spherical Averages and
        Applications to Spherical Splines and Interpolation." ACM Transactions on Graphics
        2001. doi:10.1145/502122.502124. Step size 1 converges: Afsari, Tron, Vidal. "On
        the Convergence of Gradient Descent for Finding the Riemannian Center of Mass."
        SIAM Journal on Control and Optimization 2013. arXiv:1201.0925.
    """

    kind: Literal["slerp"] = "slerp"

    def _merge(self, rows: Rows) -> Float64[Tensor, "P"]:
        lengths = rows.tensors.norm(dim=1)
        if not bool((lengths > 0).all()):
            return rows.mean()
        directions = rows.tensors / lengths[:, None]
        parts = _karcher_mean(directions @ directions.T, rows.shares)
        if parts is None:
            return rows.mean()
        direction = parts @ directions
        return (rows.shares @ lengths) * direction / direction.norm()


def _karcher_mean(cosines: Float64[Tensor, "N N"], shares: Float64[Tensor, "N"]) -> Tensor | None:
    """Find the spherical mean of N directions as a combination of them; None if there is none.

    The mean lies in the span of the directions, so their cosines are all that is needed,
    and a step costs N * N however long the vectors are. Each step walks the weighted sum of
    the arcs: with u_m the directions and t_m their angles to the mean so far,
    sum(w_m * t_m / sin(t_m) * (u_m - cos(t_m) * mean)).
    """
    mean = shares
    for _ in range(MAX_ITERATIONS):
        length = (mean @ cosines @ mean).clamp(min=0).sqrt()
        if length < CLOSE_TO_OPPOSITE_RADIANS:
            return None
        mean = mean / length
        to_mean = (cosines @ mean).clamp(-1, 1)
        angles = to_mean.arccos()
        if angles.max() > torch.pi - CLOSE_TO_OPPOSITE_RADIANS:
            return None
        pull = shares / torch.sinc(angles / torch.pi)
        step = pull - (pull @ to_mean) * mean
        stride = (step @ cosines @ step).clamp(min=0).sqrt()
        moved = stride.cos() * mean + torch.sinc(stride / torch.pi) * step
        if (moved - mean).abs().max() < CONVERGED * mean.abs().max():
            return moved
        mean = moved
    return None
