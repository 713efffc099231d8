"""The local loop: patients of one site in, better weights out.

The same loop trains a block on its modality, a fused model on paired patients, to the
end, with early stopping if wished (a researcher, one-shot mode), or for a few epochs (one round).
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lego_core.block import LegoBlock
from lego_core.component import Component
from lego_core.errors import DataError
from lego_core.fuse import LegoFuse
from lego_core.records import Batch, Cohort
from lego_core.statistics import FeatureStatistics
from lego_core.tasks import Task

Device = Literal["auto", "cpu", "cuda", "mps"]
Keep = Literal["best", "last", "mean"]
LARGEST_LOGIT = 1e4  # far beyond what any trained model says
DROPOUTS = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout
)  # fmt: skip


@final
class TrainingSettings(Component):
    """How one site trains.

    Args:
        learning_rate: Step size of AdamW.
        weight_decay: Decoupled weight decay of AdamW.
        batch_size: Patients B per step.
        gradient_accumulation: Batches whose gradients make one step together.
        clip_gradient: Largest norm of a step's gradient.
        epochs: Passes over the site's training patients: at most, with early stopping; rounds
            have a number of their own (`local-epochs`).
        patience: Epochs without a better validation loss before training stops and the best
            weights return; rounds have a patience of their own.
        keep: `best` ends with the weights of the least validation loss; `last` runs every
            epoch (every round) and ends with the last weights, since a handful of validation
            patients would choose at random; `mean` likewise, and ends with the mean of the weights
            after each step of the last epoch (of every round), so that the noise of single steps
            averages out; statistics that layers gather by themselves stay those of the last step.
        trunk_rate: How fast the trunk learns, next to everything else: 1 is as fast, 0 leaves
            the common start as it is. The less trunks move, the better blocks merge.
        dropout: Whether encoders and trunks drop what their own settings say. It guards against
            many features with few patients; on few features a short training is no worse without.
            Dropout that a module of one's own does by a function, not by a layer, always stays.
        bf16: Autocast to bfloat16 on CUDA devices.
    """

    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    batch_size: int = Field(default=32, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    clip_gradient: float = Field(default=1.0, gt=0)
    epochs: int = Field(default=50, ge=1)
    patience: int = Field(default=8, ge=1)
    keep: Keep = "best"
    trunk_rate: float = Field(default=1.0, ge=0, le=1)
    dropout: bool = True
    bf16: bool = True


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to; `validation_loss` is None where there are no validation patients."""

    number: int
    train_loss: float
    validation_loss: float | None


def choose_device(wish: Device = "auto") -> torch.device:
    """Give the device to compute on: the one wished for, or CUDA, MPS, CPU, in this order."""
    if wish != "auto":
        return torch.device(wish)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def fit_block(
    block: LegoBlock,
    train: Cohort,
    validation: Cohort | None = None,
    *,
    task: Task,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    device: Device = "auto",
    on_epoch: Callable[[Epoch], None] | None = None,
) -> LegoBlock:
    """Train one block on one site's patients, to the end, and give it back.

    Takes the training patients' own means and spreads. If the settings keep the best, it stops
    early on the validation patients and leaves the block with its best weights; otherwise every
    epoch is run.

    Args:
        block: The block to train; changed in place.
        train: Training patients; those without the block's modality are left out.
        validation: Patients who judge every epoch, and may stop the training; without them all
            epochs are run.
        task: What is predicted.
        settings: How to train; the defaults if not given.
        seed: Decides the order of patients and the dropout.
        device: Where to compute.
        on_epoch: Called after every epoch, for a progress line.

    Raises:
        DataError: If no training patient has the modality.
    """
    train = train.marked("train").only(block.modality)
    validation = validation and validation.only(block.modality)
    _check_any(train)
    block.normalise_with(FeatureStatistics.of(train, block.modality).normalisation())
    trainer = Trainer(block, task=task, settings=settings or TrainingSettings(), device=device)
    trainer.fit(train, validation, seed=seed, on_epoch=on_epoch)
    return block


def fit_fused(
    fused: LegoFuse,
    train: Cohort,
    validation: Cohort | None = None,
    *,
    task: Task,
    settings: TrainingSettings | None = None,
    seed: int = 0,
    device: Device = "auto",
    on_epoch: Callable[[Epoch], None] | None = None,
) -> LegoFuse:
    """Train a fused model, with the normalisation that its blocks have, and give it back.

    Args:
        fused: The model to train; changed in place.
        train: Training patients. Those with one modality alone teach too, but nothing of how
            modalities go together: `train.with_several(fused.modalities)` leaves them out.
        validation: As for a block.
        task: What is predicted.
        settings: As for a block. `Fuse().training(settings, epochs=2)` gives those of fuse rounds:
            two epochs, short steps for trunks, the mean of the weights at the end.
        seed: Decides the order of patients and the dropout.
        device: Where to compute.
        on_epoch: Called after every epoch, for a progress line.

    Raises:
        DataError: If there is no training patient.
    """
    trainer = Trainer(fused, task=task, settings=settings or TrainingSettings(), device=device)
    trainer.fit(train, validation, seed=seed, on_epoch=on_epoch)
    return fused


@final
class Trainer:
    """AdamW on one model, with what a round needs: a proximal pull, a seed, an early end.

    Args:
        model: A block, or any module that turns a `Batch` into logits (B, K), as `LegoFuse`
            does. Changed in place; back on the CPU after `fit`.
        proximal_strength: Pull towards the weights at the start (FedProx): half this
            number times the squared distance is added to the loss.
        loss: What to minimise, from logits and outcomes, in place of the task's own loss.

    Source:
        Mean of the weights: Polyak, Juditsky. "Acceleration of Stochastic Approximation by
        Averaging." SIAM Journal on Control and Optimization 30(4), 1992. doi:10.1137/0330046.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        task: Task,
        settings: TrainingSettings,
        device: Device = "auto",
        proximal_strength: float = 0.0,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.device = choose_device(device)
        self.model = model.to(self.device)
        self.loss = loss or task.loss
        self.settings = settings
        self.proximal_strength = proximal_strength
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.start = [weight.detach().clone() for weight in self.weights]
        self.optimiser = torch.optim.AdamW(in_two_speeds(model, settings), weight_decay=settings.weight_decay)

    def fit(
        self,
        train: Cohort,
        validation: Cohort | None = None,
        *,
        seed: int,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> list[Epoch]:
        """Train and tell how it went.

        With validation patients, and if the settings keep the best, the model ends with the
        weights of the epoch whose validation loss was least, and training stops after
        `patience` epochs without a better one. Otherwise every epoch is run.

        Raises:
            DataError: If there is no training patient.

        Guarantees:
            Reproducible: on one kind of device, the same seed gives the same weights.
        """
        _check_any(train)
        epochs: list[Epoch] = []
        best: tuple[float, dict[str, Tensor]] | None = None
        waited = 0
        with _seeded(seed) as order, dropout_as_wished(self.model, stays=self.settings.dropout):
            for number in range(1, self.settings.epochs + 1):
                averaged = self.settings.keep == "mean" and number == self.settings.epochs
                train_loss = self._train_epoch(train, order, AveragedModel(self.model) if averaged else None)
                epochs.append(Epoch(number, train_loss, self._loss_on(validation)))
                if on_epoch:
                    on_epoch(epochs[-1])
                reached = epochs[-1].validation_loss
                if reached is None or self.settings.keep != "best":
                    continue
                waited += 1
                if best is None or reached < best[0]:
                    best, waited = (reached, copy.deepcopy(self.model.state_dict())), 0
                if waited >= self.settings.patience:
                    break
        if best:
            self.model.load_state_dict(best[1])
        self.model.to("cpu").eval()
        return epochs

    def _train_epoch(self, train: Cohort, order: torch.Generator, mean: AveragedModel | None) -> float:
        """One pass; if a mean is wished for, the model ends with that of its weights after each step."""
        self.model.train()
        chunks = torch.randperm(len(train), generator=order).split(self.settings.batch_size)
        total = 0.0
        for group in _in_groups(list(chunks), self.settings.gradient_accumulation):
            patients = sum(len(chunk) for chunk in group)
            self.optimiser.zero_grad()
            for chunk in group:
                batch = train.batch(chunk.tolist()).to(self.device)
                with self._autocast():
                    logits = logits_of(self.model, batch)
                loss = self.loss(logits.float(), batch.outcomes) * len(chunk)
                (loss / patients).backward()
                total += float(loss.detach())
            self._pull_to_start()
            nn.utils.clip_grad_norm_(self.weights, self.settings.clip_gradient)
            self.optimiser.step()
            if mean:
                mean.update_parameters(self.model)
        if mean:
            with torch.no_grad():
                for weight, averaged in zip(self.model.parameters(), mean.parameters(), strict=True):
                    weight.copy_(averaged)
        return total / len(train)

    def _pull_to_start(self) -> None:
        if not self.proximal_strength:
            return
        for weight, start in zip(self.weights, self.start, strict=True):
            if weight.grad is not None:
                weight.grad.add_(weight.detach() - start, alpha=self.proximal_strength)

    def _loss_on(self, validation: Cohort | None) -> float | None:
        if validation is None or not len(validation):
            return None
        logits, outcomes = predict_logits(self.model, validation, device=self.device)
        return float(self.loss(logits, outcomes))

    def _autocast(self) -> AbstractContextManager[object]:
        enabled = self.settings.bf16 and self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)


def logits_of(model: nn.Module, batch: Batch) -> Float[Tensor, "B K"]:
    """Logits for a batch, whether the model reads one modality or several."""
    return model(batch.inputs[model.modality]) if isinstance(model, LegoBlock) else model(batch)


@torch.no_grad()
def predict_logits(
    model: nn.Module, cohort: Cohort, *, device: torch.device | None = None, batch_size: int = 256
) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B O"]]:
    """Logits and outcomes of every patient, in order; the model is left in evaluation mode."""
    device = device or torch.device("cpu")
    model.eval()
    logits, outcomes = [], []
    for start in range(0, len(cohort), batch_size):
        batch = cohort.batch(range(start, min(start + batch_size, len(cohort)))).to(device)
        logits.append(logits_of(model, batch).float().cpu())
        outcomes.append(batch.outcomes.cpu())
    return torch.cat(logits), torch.cat(outcomes)


def within_reason(logits: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """Logits whose losses are finite, whatever weights made them; a prediction that is no number is none."""
    return logits.nan_to_num(nan=0.0).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


@contextmanager
def _seeded(seed: int) -> Iterator[torch.Generator]:
    """Dropout and the order of patients from one seed; the caller's randomness is left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


@contextmanager
def dropout_as_wished(model: nn.Module, *, stays: bool) -> Iterator[None]:
    """Let PyTorch's layers drop nothing for a while, unless dropout stays; nothing else of them changes.

    Layers stay in training mode, since cuDNN gives no gradients of a recurrent layer in the other.
    """
    dropping = [
        (layer, share)
        for kinds, share in (((nn.RNNBase, nn.MultiheadAttention), "dropout"), (DROPOUTS, "p"))
        for layer in model.modules()
        if isinstance(layer, kinds)
    ]
    before = [getattr(layer, share) for layer, share in dropping]
    try:
        for layer, share in dropping if not stays else ():
            setattr(layer, share, 0.0)
        yield
    finally:
        for (layer, share), value in zip(dropping, before, strict=True):
            setattr(layer, share, value)


def in_two_speeds(model: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """The trainable weights for the optimiser: those of trunks, and all others, each with its step size."""
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    trunk = [weight for name, weight in named if "trunk" in name.split(".")]
    rest = [weight for name, weight in named if "trunk" not in name.split(".")]
    rates = [settings.learning_rate * settings.trunk_rate, settings.learning_rate]
    return [
        {"params": chosen, "lr": rate} for chosen, rate in zip((trunk, rest), rates, strict=True) if chosen
    ]


def _in_groups(chunks: list[Tensor], size: int) -> list[list[Tensor]]:
    return [chunks[start : start + size] for start in range(0, len(chunks), size)]


def _check_any(train: Cohort) -> None:
    if not len(train):
        raise DataError(
            "There is no training patient for this model. Check which modality the site holds, and the "
            "split (keys 'split' of site.toml and of the plan)."
        )
