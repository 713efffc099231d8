"""What a model must allow so that its gradient can be told patient by patient.

Patient-level privacy bounds what each patient adds to a gradient, so it needs the gradient of
each. Layers like `nn.Linear` know how to tell them apart; a learned constant, the same for every
patient, does not, and a layer that sees a part of the patients mixes up who is who. So a module

- names its bare parameters in `learned_constants` and reads them by `constant_of`;
- if it lets patients pass in groups, has an attribute `patients_together` that ends this.

`lego_core.private_training` trains a copy in which both are put to use.
"""

from typing import ClassVar, Protocol, final, runtime_checkable

import torch
from jaxtyping import Shaped
from torch import Tensor, nn


@runtime_checkable
class HasConstants(Protocol):
    """A module that names its bare parameters, each of which may become an `OnePerPatient`."""

    learned_constants: ClassVar[tuple[str, ...]]


@runtime_checkable
class PatientsTogether(Protocol):
    """A module that usually lets patients pass its layers in groups, and can let all pass together.

    If so, every layer sees all patients of a batch, in order, whenever it is called, and what does
    not concern a patient is taken out of the result by a mask.
    """

    patients_together: bool


@final
class OnePerPatient(nn.Module):
    """A learned constant, given out once per patient.

    Shapes:
        patients  (B, ...)  only their number is looked at
        returns   (B, *shape of the constant)
    """

    def __init__(self, constant: nn.Parameter) -> None:
        super().__init__()
        self.weight = constant

    def forward(self, patients: Tensor) -> Tensor:
        """Give it out."""
        return self.weight.expand(len(patients), *self.weight.shape)


def constant_of(constant: Tensor | nn.Module, num_patients: int) -> Shaped[Tensor, "N ..."]:
    """A learned constant with an axis for patients in front: 1 for all of them, or one each (N = B)."""
    if isinstance(constant, nn.Module):
        return constant(torch.empty(num_patients, 0))
    return constant.unsqueeze(0)
