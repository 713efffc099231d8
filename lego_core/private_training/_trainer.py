"""DP-SGD: each patient's gradient is clipped, noise is added to their sum, and that alone is learned from."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor, nn

from lego_core.errors import PlanError, PrivacyError
from lego_core.privacy import NoiseTerms
from lego_core.private_training._gradient_check import check_per_patient_gradients
from lego_core.private_training._noise import Chance
from lego_core.private_training._private_copy import PrivateCopy
from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import (
    Device,
    TrainingSettings,
    choose_device,
    dropout_as_wished,
    in_two_speeds,
    logits_of,
)

if TYPE_CHECKING:
    from opacus.optimizers import DPOptimizer

LARGEST_CHUNK = 128  # patients whose gradients are held at once
CHUNK_BYTES = 2**28  # of all their gradients


@final
class PrivateTrainer:
    """AdamW on one model, with what patient-level privacy asks of each step.

    Args:
        model: A block or a fused model. Changed in place; back on the CPU after `fit`.
        task: What is predicted; its loss must be a mean over patients.
        settings: Learning rate, weight decay, trunk rate, dropout and `keep` as in other training.
            Batches, steps and clipping are the privacy plan's; computed in float32.
        privacy: How much noise, how many steps.
        device: Where to compute.
        proximal_strength: Pull towards the weights at the start (FedProx), after the noise, since
            it has nothing of the patients.
        entropy: Random bytes for noise and sampling; tests put in their own.

    Raises:
        PlanError: If the settings choose weights by validation patients.

    Guarantees:
        For every training patient the weights afterwards are (epsilon, delta)-differentially private
        given the weights before, for adding or taking away that patient, with the epsilon that
        `lego_core.accounting` gives for `privacy.steps` steps. A patient without a finite gradient
        adds nothing.
        Not covered: rounding of numbers; how long a step takes.

    Source:
        Abadi et al. "Deep Learning with Differential Privacy." CCS 2016. arXiv:1607.00133.
        Opacus: Yousefpour et al. "Opacus: User-Friendly Differential Privacy Library in
        PyTorch." 2021. arXiv:2109.12298.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        task: Task,
        settings: TrainingSettings,
        privacy: NoiseTerms,
        device: Device = "auto",
        proximal_strength: float = 0.0,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        check_private_settings(settings)
        self.device = choose_device(device)
        self.model = model
        self.task = task
        self.settings = settings
        self.privacy = privacy
        self.proximal_strength = proximal_strength
        self.chance = Chance(entropy)

    def fit(self, train: Cohort, *, seed: int) -> None:
        """Take the plan's steps. How the loss went is not told: it would tell of the patients.

        The steps must have been charged to the site's ledger before.

        Args:
            train: Training patients.
            seed: Decides the dropout; nothing that privacy rests on.

        Raises:
            PrivacyError: If there are fewer than two patients, or fewer than a batch has, or if
                gradients cannot be told patient by patient.
        """
        rate = self.privacy.sampling_rate(len(train))
        _check_company(len(train))
        check_per_patient_gradients(self.model, task=self.task)
        private = PrivateCopy(self.model.to(self.device), encoders_only=self.privacy.trains == "encoders")
        weights = list(private.weights.values())
        optimiser = self._optimiser(private.model, weights)
        mean = _RunningMean(weights)
        last_epoch = self.privacy.steps - round(1 / rate)
        with torch.random.fork_rng(), dropout_as_wished(private.model, stays=self.settings.dropout):
            torch.manual_seed(seed)
            for step in range(self.privacy.steps):
                chosen = self.chance.chosen(len(train), rate=rate).nonzero()[0].tolist()
                self._step(private, optimiser, train, chosen)
                if self.settings.keep == "mean" and step >= last_epoch:
                    mean.add(weights)
        mean.put_into(weights)
        private.hand_back(self.model)
        self.model.to("cpu").eval()

    def _step(self, private: PrivateCopy, optimiser: "DPOptimizer", train: Cohort, chosen: list[int]) -> None:
        """One step; without patients too, since to leave it out would tell that nobody was there."""
        weights = list(private.weights.values())
        size = sum(weight.numel() * weight.element_size() for weight in weights)
        at_once = max(1, min(LARGEST_CHUNK, CHUNK_BYTES // size))
        starts = range(0, max(1, len(chosen)), at_once)
        for start in starts:
            optimiser.zero_grad()
            self._gradients(private, train, chosen[start : start + at_once])
            private.leave_out_infinite()
            optimiser.signal_skip_step(do_skip=start != starts[-1])
            optimiser.step()

    def _gradients(self, private: PrivateCopy, train: Cohort, patients: list[int]) -> None:
        if not patients:
            private.without_patients()
            return
        batch = train.batch(patients).to(self.device)
        private.backward(self.task.loss(logits_of(private.model, batch), batch.outcomes) * len(batch))

    def _optimiser(self, model: nn.Module, weights: list[nn.Parameter]) -> "DPOptimizer":
        optimiser = _noisy_optimiser(
            torch.optim.AdamW(in_two_speeds(model, self.settings), weight_decay=self.settings.weight_decay),
            privacy=self.privacy,
            chance=self.chance,
        )
        start = [weight.detach().clone() for weight in weights]

        def pull_to_start(_: "DPOptimizer") -> None:
            for weight, origin in zip(weights, start, strict=True):
                if weight.grad is not None:
                    weight.grad.add_(weight.detach() - origin, alpha=self.proximal_strength)

        optimiser.attach_step_hook(pull_to_start)
        return optimiser


def check_private_settings(settings: TrainingSettings) -> None:
    """Refuse settings that would undo patient-level privacy.

    Raises:
        PlanError: If weights are chosen by validation patients.
    """
    if settings.keep == "best":
        raise PlanError(
            "training.keep 'best' chooses weights by their loss on validation patients, without any noise, "
            "and privacy 'patient-dp' lets no weights be chosen that way. Set training.keep to 'last' or "
            "'mean'."
        )


def _check_company(num_patients: int) -> None:
    if num_patients < 2:
        raise PrivacyError(
            f"Patient-level privacy hides a patient among others, and there is {num_patients} training "
            "patient for this model, of at least 2. Leave this modality out of site.toml."
        )


def _noisy_optimiser(
    optimiser: torch.optim.Optimizer, *, privacy: NoiseTerms, chance: Chance
) -> "DPOptimizer":
    from opacus.optimizers import DPOptimizer

    class Noisy(DPOptimizer):
        """Opacus' optimiser with noise from the operating system."""

        def add_noise(self) -> None:
            stddev = self.noise_multiplier * self.max_grad_norm
            for weight in self.params:
                total: Tensor = getattr(weight, "summed_grad")  # noqa: B009  # Opacus', which no type knows of
                noise = chance.normal(tuple(weight.shape), stddev=stddev).to(weight.device)
                weight.grad = (total.double() + noise).to(weight.dtype)

    return Noisy(
        optimiser,
        noise_multiplier=privacy.noise_multiplier,
        max_grad_norm=privacy.clip_norm,
        expected_batch_size=privacy.batch_size,
    )


@final
class _RunningMean:
    """The mean of weights after several steps; what is made of noised weights needs no more noise."""

    def __init__(self, weights: list[nn.Parameter]) -> None:
        self.sums = [torch.zeros_like(weight) for weight in weights]
        self.count = 0

    @torch.no_grad()
    def add(self, weights: list[nn.Parameter]) -> None:
        self.count += 1
        for total, weight in zip(self.sums, weights, strict=True):
            total += weight

    @torch.no_grad()
    def put_into(self, weights: list[nn.Parameter]) -> None:
        """Take the place of the weights, if anything was added."""
        for total, weight in zip(self.sums, weights, strict=True) if self.count else ():
            weight.copy_(total / self.count)
