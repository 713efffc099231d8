"""Before any private training: are the per-patient gradients those of the patients?

A layer that loops over patients, or sees a part of them, makes gradients that look right and
belong to nobody. Clipping then bounds nothing, and nothing else would tell. It is tried on patients
who do not exist, so that a refusal tells nothing of those who do.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from lego_core.errors import PrivacyError
from lego_core.private_training._made_up import begin_anew, made_up_patients
from lego_core.private_training._private_copy import PrivateCopy
from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import dropout_as_wished, logits_of

TOLERANCE = 1e-3  # of the largest gradient of a weight; float32 leaves 1e-6, a wrong patient 1

# What Opacus and foreign modules raise when a module is not made for them.
CALL_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def check_per_patient_gradients(model: nn.Module, *, task: Task) -> None:
    """Compare what private training will take for patients' gradients with their own, one by one.

    Args:
        model: A block or a fused model; a copy is tried, and it is left as it is.
        task: What is predicted.

    Raises:
        PrivacyError: If the gradients of a module differ from the patients' own; it names the module,
            and the reason where it is known.

    Guarantees:
        No patient is looked at, and nothing that was learned from any: whether a block of our own encoders
        passes, and what the error says, follows from its form and the task alone.
        Not found: a module that treats measurements of many rows in another way than those of four.
    """
    _check_kinds(model)
    tried = copy.deepcopy(model).cpu().train()
    begin_anew(tried)
    patients = made_up_patients(tried, task)
    with torch.random.fork_rng(), dropout_as_wished(tried, stays=False):
        try:
            own = _one_by_one(tried, patients, task)
        except CALL_ERRORS as error:
            raise PrivacyError(
                f"The model raised '{type(error).__name__}' over made-up patients, on whom private training "
                "tries it first: rows of any number, some values not measured. Let the encoder read these.",
                local=str(error),
            ) from error
        told = _told_apart(tried, patients, task)
    largest = max(float(gradients.abs().max()) for gradients in own.values())
    for name, gradients in own.items():
        scale = float(gradients.abs().max()) + TOLERANCE * largest
        if name not in told:
            _refuse(
                name, "Opacus tells no gradients per patient of it", "let it take part in every prediction"
            )
        if len(told[name]) != len(patients):
            rows = f"it is run on {len(told[name])} of {len(patients)} patients at a time"
            _refuse(
                name, f"{rows}, so its gradients are not those of single patients", "run it on whole batches"
            )
        if not bool(((told[name] - gradients).abs() <= TOLERANCE * scale).all()):
            _refuse(
                name,
                "what Opacus takes for a patient's gradient differs from the patient's own",
                "build it of torch.nn layers that see all patients at once, in order",
            )


def _check_kinds(model: nn.Module) -> None:
    for name, module in model.named_modules():
        kind = type(module).__name__
        match module:
            case _BatchNorm():
                _refuse_kind(name, kind, "mixes the patients of a batch", "nn.GroupNorm or nn.LayerNorm")
            case nn.MultiheadAttention():
                remedy = "nn.Linear layers and functional.scaled_dot_product_attention"
                _refuse_kind(name, kind, "hides its weights from Opacus", remedy)
            case nn.RNNBase() if type(module) not in (nn.RNN, nn.GRU, nn.LSTM) or module.proj_size:
                remedy = "nn.GRU, nn.LSTM or nn.RNN without projections"
                _refuse_kind(name, kind, "has no counterpart in Opacus", remedy)
            case nn.RNNCellBase():
                _refuse_kind(name, kind, "has no counterpart in Opacus", "nn.GRU, nn.LSTM or nn.RNN")
            case _InstanceNorm(track_running_stats=True):
                _refuse_kind(name, kind, "keeps averages over patients", "nn.GroupNorm or nn.LayerNorm")


def _one_by_one(model: nn.Module, patients: Cohort, task: Task) -> dict[str, Tensor]:
    """The gradient of each patient's loss by plain autograd, after a look at whether each is alone."""
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    gradients: dict[str, list[Tensor]] = {name: [] for name in weights}
    logits, losses = [], []
    for index in range(len(patients)):
        batch = patients.batch([index])
        logits.append(logits_of(model, batch))
        losses.append(task.loss(logits[-1], batch.outcomes))
        found = torch.autograd.grad(losses[-1], list(weights.values()), allow_unused=True)
        for (name, weight), gradient in zip(weights.items(), found, strict=True):
            gradients[name].append(torch.zeros_like(weight) if gradient is None else gradient)
    batch = patients.batch()
    together = logits_of(model, batch)
    if not _close(together, torch.cat(logits)):
        raise PrivacyError(
            "The model answers a patient differently in other company: a module mixes patients, or drops at "
            "random by a function and not by a layer. What one patient adds to the weights then has no "
            "bound. Take that module out of the encoder, or do without patient-level privacy."
        )
    if not _close(task.loss(together, batch.outcomes)[None], torch.stack(losses).mean()[None]):
        raise PrivacyError(
            f"The loss of task '{task.kind}' is not the mean of one loss per patient, so what one patient "
            "adds to it has no bound. Choose a task with such a loss."
        )
    return {name: torch.stack(own) for name, own in gradients.items()}


def _told_apart(model: nn.Module, patients: Cohort, task: Task) -> dict[str, Tensor]:
    """The same gradients as private training gets them, from one pass over all."""
    try:
        private = PrivateCopy(model)
        batch = patients.batch()
        private.backward(task.loss(logits_of(private.model, batch), batch.outcomes) * len(batch))
    except CALL_ERRORS as error:
        suspects = ", ".join(f"'{name}'" for name in _foreign(model)) or "the model"
        raise PrivacyError(
            f"Opacus raised '{type(error).__name__}' over the gradients per patient of {suspects}: weights "
            "that do not sit in layers of torch.nn, or layers that it cannot treat. Keep weights in such "
            "layers, or name constants in `learned_constants` (lego_core.per_patient).",
            local=str(error),
        ) from error
    found = {name: getattr(weight, "grad_sample", None) for name, weight in private.weights.items()}
    return {name: told for name, told in found.items() if isinstance(told, Tensor)}


def _foreign(model: nn.Module) -> list[str]:
    """Modules with weights of their own that are neither a layer of torch nor known to name them."""
    return [
        f"{name or 'model'} ({type(module).__name__})"
        for name, module in model.named_modules()
        if any(weight.requires_grad for weight in module.parameters(recurse=False))
        and not type(module).__module__.startswith(("torch.nn.", "lego_core."))
    ]


def _close(one: Float[Tensor, "B ..."], other: Float[Tensor, "B ..."]) -> bool:
    return bool(((one - other).abs() <= TOLERANCE * (1 + other.abs().max())).all())


def _refuse_kind(name: str, kind: str, why: str, remedy: str) -> None:
    raise PrivacyError(
        f"Patient-level privacy cannot train module '{name}': a {kind} {why}. Use {remedy} in its place."
    )


def _refuse(weight: str, why: str, remedy: str) -> None:
    raise PrivacyError(
        f"Patient-level privacy cannot train module '{weight.rpartition('.')[0] or 'model'}' (weight "
        f"'{weight}'): {why}, and what one patient adds to the weights has no bound. Please {remedy}."
    )
