"""The gradient of each patient, in the smallest form from which norms and weighted sums can be had.

A linear layer that sees one row per patient has gradients that are outer products: what came in
times what came back. Two short vectors per patient then stand for a matrix, which is never made.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.errors import PrivacyError

SMALLEST = torch.finfo(torch.float32).tiny
TINY = 1e-6  # lest a gradient of nothing be divided by its length


@final
class Whole:
    """Gradients as they are.

    Shapes:
        values  (B, *shape of the weight)
    """

    def __init__(self, values: Float[Tensor, "B *S"]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    @property
    def num_bytes(self) -> int:
        """Memory that they take."""
        return self.values.nbytes

    def norms(self) -> Float[Tensor, "B"]:
        """The length of each."""
        return _lengths(self.values.flatten(1))

    def total(self, factors: Float[Tensor, "B"]) -> Float[Tensor, "*S"]:
        """Their sum, each times its factor."""
        return torch.einsum("n,n...->...", factors, self.values)

    def of(self, patients: Tensor) -> "Whole":
        """Those of some patients."""
        return Whole(self.values[patients])

    def whole(self) -> Float[Tensor, "B *S"]:
        """Gradients as they are."""
        return self.values


@final
class Outer:
    """Gradients of the weight of a linear layer that saw one row per patient.

    Shapes:
        inputs   (B, I)  what came in
        signals  (B, O)  the gradients of what went out

    Source:
        Goodfellow. "Efficient Per-Example Gradient Computations." 2015. arXiv:1510.01799 (norms).
        Bu, Wang, Zha, Karypis. "Differentially Private Optimization on Large Model at Small Cost."
        ICML 2023. arXiv:2210.00038 (sums from the same vectors, without a second backward pass).
    """

    def __init__(self, inputs: Float[Tensor, "B I"], signals: Float[Tensor, "B O"]) -> None:
        self.inputs = inputs
        self.signals = signals

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def num_bytes(self) -> int:
        """Memory that they take."""
        return self.inputs.nbytes + self.signals.nbytes

    def norms(self) -> Float[Tensor, "B"]:
        """The length of each."""
        return _lengths(self.inputs) * _lengths(self.signals)

    def total(self, factors: Float[Tensor, "B"]) -> Float[Tensor, "O I"]:
        """Their sum, each times its factor."""
        return (factors[:, None] * self.signals).T @ self.inputs

    def of(self, patients: Tensor) -> "Outer":
        """Those of some patients."""
        return Outer(self.inputs[patients], self.signals[patients])

    def whole(self) -> Float[Tensor, "B O I"]:
        """Gradients as matrices."""
        return torch.einsum("no,ni->noi", self.signals, self.inputs)


PatientGradients = Whole | Outer


def _lengths(rows: Float[Tensor, "B N"]) -> Float[Tensor, "B"]:
    """The length of each row, as it is where squares of its numbers would vanish, or be too large."""
    largest = rows.abs().amax(dim=1)
    return largest * (rows / largest.clamp(min=SMALLEST)[:, None]).norm(dim=1)


@torch.no_grad()
def clipped_sums(
    gradients: dict[str, PatientGradients], *, num_patients: int, clip_norm: float
) -> dict[str, Float[Tensor, "..."]]:
    """The sum over patients of their gradients, each over all weights shortened to `clip_norm`.

    Raises:
        PrivacyError: If the gradients of a weight are not of so many patients.

    Guarantees:
        A patient whose gradient has no finite length adds nothing, since no clipping could bound it.
    """
    for name, one in gradients.items():
        if len(one) != num_patients:
            raise PrivacyError(
                f"Weight '{name}' has gradients of {len(one)} patients, and the batch has {num_patients}: "
                "its module sees measurements like these in parts. Let it see all patients at once."
            )
    norms = torch.stack([one.norms() for one in gradients.values()]).norm(dim=0)
    finite = norms.isfinite()
    factors = (clip_norm / (norms + TINY)).clamp(max=1.0)
    if not bool(finite.all()):
        gradients = {name: one.of(finite) for name, one in gradients.items()}
    return {name: one.total(factors[finite]) for name, one in gradients.items()}
