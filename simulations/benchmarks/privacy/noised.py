"""`patient-dp` as an attacker meets it: noise in the training itself, and an epsilon that is claimed."""

from collections.abc import Callable, Sequence
from typing import final

import numpy as np

from lego_core.accounting import NoisySteps, epsilon_of, needed_noise
from lego_core.block import LegoBlock
from lego_core.privacy import PatientDp
from lego_core.private_training import PrivateTrainer
from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import TrainingSettings
from lego_core.update import BlockUpdate
from simulations.benchmarks.privacy.protections import AbstractProtection, Course, Guarantee, NoProtection

ANY = 1e6  # a budget that nothing exceeds: what is spent is counted here, not limited


@final
class NoisedAtTheSite(AbstractProtection):
    """`patient-dp`: sites add noise while they train, and the server sees what they learned so.

    Noise and sampling are drawn from the seed, so that an examination can be repeated; a site
    draws them from its operating system.

    Args:
        noise_multiplier: Standard deviation of the noise, in clip norms.
        label: What tables call it.
    """

    fewest_patients = 2  # one alone would be hidden among nobody

    def __init__(self, noise_multiplier: float, *, label: str) -> None:
        self.noise_multiplier = noise_multiplier
        self.label = label

    @classmethod
    def within(cls, epsilon: float, course: Course) -> "NoisedAtTheSite":
        """As little noise as keeps a whole training within an epsilon."""
        delta, rate, steps = _dose(course)
        noise = needed_noise(epsilon, delta=delta, sampling_rate=rate, steps=steps)
        return cls(noise, label=f"patient-dp, epsilon {epsilon:g}")

    @property
    def name(self) -> str:
        """As in plans, with the level of noise."""
        return self.label

    def train(
        self, block: LegoBlock, cohort: Cohort, *, task: Task, settings: TrainingSettings, seed: int
    ) -> None:
        """The project's own private training, with as many steps as the other one takes."""
        privacy = _privacy(self.noise_multiplier, len_site=len(cohort), settings=settings)
        trainer = PrivateTrainer(
            block, task=task, settings=settings, privacy=privacy, device="cpu",
            entropy=_entropy(block.modality, seed),
        )  # fmt: skip
        trainer.fit(cohort, seed=seed)

    def seen(self, updates: Sequence[BlockUpdate]) -> list[BlockUpdate]:
        """Every update, with the noise that is in it."""
        return NoProtection().seen(updates)

    def promised(self, course: Course) -> Guarantee:
        """What the accountant says."""
        delta, rate, steps = _dose(course)
        spent = epsilon_of([NoisySteps(self.noise_multiplier, rate, steps)], delta=delta)
        return Guarantee(spent.value, delta)


def _entropy(modality: str, seed: int) -> Callable[[int], bytes]:
    """Random bytes that can be repeated; no two blocks share them, or their noise could be subtracted."""
    return np.random.default_rng([seed, *modality.encode()]).bytes


def _dose(course: Course) -> tuple[float, float, int]:
    """Delta, sampling rate and number of steps of a whole training."""
    privacy, larger = (
        _privacy(1.0, len_site=course.site_patients + more, settings=course.settings) for more in (0, 1)
    )  # sites that are dealt evenly differ by one patient: the rate of the one, the steps of the other
    steps = max(privacy.steps, larger.steps) * course.rounds * course.blocks
    return privacy.delta_for(course.site_patients), privacy.sampling_rate(course.site_patients), steps


def _privacy(noise_multiplier: float, *, len_site: int, settings: TrainingSettings) -> PatientDp:
    """The plan of a site of this size: batches and passes as in its training without noise."""
    batch = min(settings.batch_size, len_site)
    steps = max(1, round(settings.epochs * len_site / batch))
    return PatientDp(
        kind="patient-dp", epsilon=ANY, noise_multiplier=noise_multiplier, batch_size=batch, steps=steps
    )
