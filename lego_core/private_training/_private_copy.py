"""The copy of a model that is trained privately: the same function, in pieces that Opacus can treat."""

import copy
import warnings
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from lego_core._opacus import require_opacus
from lego_core.errors import PrivacyError
from lego_core.per_patient import HasConstants, OnePerPatient, PatientsTogether
from lego_core.private_training._patient_gradients import Outer, PatientGradients, Whole


@final
class PrivateCopy:
    """A copy of a model whose gradients can be told patient by patient.

    Learned constants are given out once per patient, all patients pass every layer together, and
    recurrent layers are Opacus' own, which do the same with the same weights. Linear layers remember
    two vectors per patient in place of a matrix, where they can. The model itself is left alone until
    `hand_back`.

    Args:
        model: The model to copy.
        encoders_only: Train the weights of encoders and leave all others as they are.

    Attributes:
        model: The copy.
        weights: Its trainable weights, under the names that they have in the model. Opacus gives each a
            `grad_sample`, which no type knows of.
        bytes_per_patient: Memory that the gradients of one patient take, as far as is known.

    Raises:
        PrivacyError: If there is no weight to train.
        NotImplementedError: From Opacus, if it cannot treat a layer.
    """

    def __init__(self, model: nn.Module, *, encoders_only: bool = False) -> None:
        require_opacus()
        from opacus.grad_sample import GradSampleModule

        GradSampleModule.GRAD_SAMPLERS[OnePerPatient] = _gradient_of_constant
        GradSampleModule.GRAD_SAMPLERS[_Linear] = _gradient_of_linear
        self.model = _prepared(copy.deepcopy(model))
        constants = [name for name, part in self.model.named_modules() if isinstance(part, OnePerPatient)]
        renamed = {f"{name}.weight": name for name in constants}
        named = {renamed.get(name, name): weight for name, weight in self.model.named_parameters()}
        for name, weight in named.items() if encoders_only else ():
            weight.requires_grad_(weight.requires_grad and "encoder" in name.split("."))
        self.weights: dict[str, Any] = {
            name: weight for name, weight in named.items() if weight.requires_grad
        }
        if not self.weights:
            raise PrivacyError(
                "There is no weight to train: privacy.trains is 'encoders', and no encoder of this model has "
                "weights. Set privacy.trains to 'everything', or choose an encoder that has some."
            )
        self.model.train()
        self.bytes_per_patient = sum(weight.nbytes for weight in self.weights.values())
        self._hooks = GradSampleModule(self.model, loss_reduction="sum")

    def gradients_of(self, losses: Float[Tensor, ""]) -> dict[str, PatientGradients]:
        """Tell the gradient of a *sum* of losses patient by patient, for weights that had a part in it."""
        for weight in self.weights.values():
            weight.grad = weight.grad_sample = None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")  # first layers do this
            losses.backward()
        told = {name: weight.grad_sample for name, weight in self.weights.items()}
        gradients = {
            name: Whole(one) if isinstance(one, Tensor) else one
            for name, one in told.items()
            if one is not None
        }
        num_patients = max((len(one) for one in gradients.values()), default=1)
        self.bytes_per_patient = sum(one.num_bytes for one in gradients.values()) // num_patients
        return gradients

    @torch.no_grad()
    def hand_back(self, model: nn.Module) -> None:
        """Give the model the weights of the copy."""
        for name, weight in model.named_parameters():
            if name in self.weights:
                weight.copy_(self.weights[name])


def _prepared(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _recurrent_of_opacus(child) or _prepared(child))
    if type(module) is nn.Linear:
        module.__class__ = _Linear  # the same layer under another name, by which Opacus asks us
    if isinstance(module, _ConvNd):
        module.register_forward_pre_hook(_laid_out)
    if isinstance(module, PatientsTogether):
        module.patients_together = True
    for name in module.learned_constants if isinstance(module, HasConstants) else ():
        constant = module.get_parameter(name)
        delattr(module, name)
        module.add_module(name, OnePerPatient(constant))
    return module


def _laid_out(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # noqa: ARG001
    """Opacus 1.6 reads an image by its strides as if it lay row by row, and is wrong if it does not."""
    return tuple(image.contiguous() for image in inputs)


def _recurrent_of_opacus(layer: nn.Module) -> nn.Module | None:
    from opacus.layers import DPGRU, DPLSTM, DPRNN

    kinds = {nn.GRU: DPGRU, nn.LSTM: DPLSTM, nn.RNN: DPRNN}
    if not isinstance(layer, nn.RNNBase) or type(layer) not in kinds or layer.proj_size:
        return None
    own: dict[str, Any] = {"nonlinearity": layer.nonlinearity} if isinstance(layer, nn.RNN) else {}
    with torch.random.fork_rng():
        made = kinds[type(layer)](
            layer.input_size,
            layer.hidden_size,
            num_layers=layer.num_layers,
            bias=layer.bias,
            batch_first=layer.batch_first,
            dropout=layer.dropout,
            bidirectional=layer.bidirectional,
            **own,
        )
    weights = dict(layer.named_parameters())
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.copy_(weights[name]).requires_grad_(weights[name].requires_grad)
    return made


class _Linear(nn.Linear):
    """A linear layer whose gradients may be outer products."""


def _gradient_of_linear(
    layer: _Linear, activations: list[Tensor], backprops: Tensor
) -> dict[nn.Parameter, Tensor]:
    """As Opacus does it, unless the layer saw one row per patient, once: then it is an outer product."""
    from opacus.grad_sample.linear import compute_linear_grad_sample

    weight: Any = layer.weight
    seen_once = weight._forward_counter == 1 and not hasattr(weight, "_current_grad_sample")
    if not (weight.requires_grad and backprops.dim() == 2 and seen_once):
        return compute_linear_grad_sample(layer, activations, backprops)
    weight._current_grad_sample = Outer(activations[0], backprops)  # Opacus makes it the `grad_sample`
    has_bias = layer.bias is not None and layer.bias.requires_grad
    return {layer.bias: backprops} if has_bias else {}


def _gradient_of_constant(
    layer: OnePerPatient,
    activations: list[Tensor],  # noqa: ARG001
    backprops: Tensor,
) -> dict[nn.Parameter, Tensor]:
    return {layer.weight: backprops}
