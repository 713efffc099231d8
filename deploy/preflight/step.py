"""How fast this site trains: a few real steps of the plan's own models, on the site's own patients."""

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import final

import torch

from lego_core.assemble import Ingredients, build_block, build_fuse
from lego_core.block import LegoBlock
from lego_core.fuse import LegoFuse
from lego_core.plan import RunPlan
from lego_core.private_training import PrivateTrainer
from lego_core.protocol import Agreement
from lego_core.records import Cohort
from lego_core.statistics import FeatureStatistics
from lego_core.training import Device, Trainer, TrainingSettings, choose_device

MEASURED_STEPS = 3  # after one that is not counted: the first is slower than all others


@final
@dataclass(frozen=True)
class ModelSpeed:
    """One model.

    Args:
        about: Which.
        phase: `blocks` or `fuse`.
        patients: Training patients.
        seconds_per_step: Forward, backward, and the new weights.
        steps: Steps in a round.
        loss: Mean loss of the measured steps; None where noise hides it.
    """

    about: str
    phase: str
    patients: int
    seconds_per_step: float
    steps: int
    loss: float | None


@final
@dataclass(frozen=True)
class Speed:
    """All models that a site trains.

    Args:
        models: Each of them.
        device: Where they were computed.
        peak_bytes: Most memory that this process ever held, Python and all libraries included.
        device_bytes: Most memory held on a CUDA device; 0 without one.
    """

    models: tuple[ModelSpeed, ...]
    device: str
    peak_bytes: int
    device_bytes: int

    @property
    def round_seconds(self) -> float:
        """Training in the longer kind of round: a site answers for one model after the other."""
        phases = {one.phase for one in self.models}
        return max(
            (
                sum(one.seconds_per_step * one.steps for one in self.models if one.phase == phase)
                for phase in phases
            ),
            default=0.0,
        )


def measure_speed(
    cohort: Cohort, *, plan: RunPlan, agreement: Agreement, device: Device, threads: int
) -> Speed:
    """Take a few steps of every model that the plan would train here; nothing of them is kept.

    Args:
        cohort: The site's patients, each in one part of the split.
        plan: The run.
        agreement: What the site would agree on with itself.
        device: Where to compute.
        threads: How many processor threads to use.

    Raises:
        LegoError: If a model cannot be built, or cannot learn from these patients.
    """
    torch.set_num_threads(threads)
    chosen = choose_device(device)
    if chosen.type == "cuda":
        torch.cuda.reset_peak_memory_stats(chosen)
    models = tuple(_models(cohort.part("train"), plan=plan, agreement=agreement, device=device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    on_device = torch.cuda.max_memory_allocated(chosen) if chosen.type == "cuda" else 0
    return Speed(models, chosen.type, peak, on_device)


def _models(train: Cohort, *, plan: RunPlan, agreement: Agreement, device: Device) -> Iterator[ModelSpeed]:
    blocks = []
    for name in agreement.schemas:
        own = train.only(name)
        if not len(own):
            continue
        block = build_block(plan, agreement, name)
        block.normalise_with(FeatureStatistics.of(own, name).normalisation())
        blocks.append(block)
        settings = plan.training_of(name)
        epochs = settings.epochs if plan.rounds.mode == "one-shot" else plan.rounds.local_epochs
        yield _speed_of(
            block, own, about=f"block '{name}'", phase="blocks", plan=plan, agreement=agreement,
            device=device, settings=settings.model_copy(update={"epochs": epochs}),
        )  # fmt: skip
    paired = train.with_several([block.modality for block in blocks])
    if plan.fuse is not None and len(blocks) > 1 and len(paired):
        fused = build_fuse(plan, blocks, Ingredients.of_untrained(blocks))
        yield _speed_of(
            fused, paired, about="fused model", phase="fuse", plan=plan, agreement=agreement, device=device,
            settings=plan.fuse.training(plan.training, epochs=plan.fuse.local_epochs),
        )  # fmt: skip


def _speed_of(
    model: LegoBlock | LegoFuse,
    train: Cohort,
    *,
    about: str,
    phase: str,
    plan: RunPlan,
    agreement: Agreement,
    settings: TrainingSettings,
    device: Device,
) -> ModelSpeed:
    noise, task = plan.privacy.noise_terms, agreement.task
    if noise:
        some = noise.model_copy(update={"steps": MEASURED_STEPS})
        one = noise.model_copy(update={"steps": 1})
        plain = settings.model_copy(update={"keep": "last"})
        about_it = {"task": task, "settings": plain, "device": device}
        PrivateTrainer(model, privacy=one, **about_it).fit(train, seed=0)
        started = time.monotonic()
        PrivateTrainer(model, privacy=some, **about_it).fit(train, seed=0)
        seconds = (time.monotonic() - started) / MEASURED_STEPS
        return ModelSpeed(about, phase, len(train), seconds, noise.steps, None)
    step_size = settings.batch_size * settings.gradient_accumulation
    once = settings.model_copy(update={"epochs": 1, "keep": "last"})
    few = train.keep(train.records[:step_size])
    trainer = Trainer(model, task=task, settings=once, device=device)
    trainer.fit(few, seed=0)
    model.to(trainer.device)
    started = time.monotonic()
    losses = [trainer.fit(few, seed=step)[0].train_loss for step in range(1, MEASURED_STEPS + 1)]
    seconds = (time.monotonic() - started) / MEASURED_STEPS
    steps = ceil(len(train) / step_size) * settings.epochs
    return ModelSpeed(about, phase, len(train), seconds, steps, sum(losses) / len(losses))
