"""What a privacy plan does to a training, and what it lets the server see: one small object each."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from lego_core.block import LegoBlock
from lego_core.errors import PrivacyError
from lego_core.privacy import PatientDp
from lego_core.privacy.fsa1.fixed_point import fraction_bits, from_fixed_point
from lego_core.privacy.fsa1.vectors import Clipped
from lego_core.private_training import PrivateTrainer
from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import Trainer, TrainingSettings
from lego_core.update import BlockUpdate

CLIP = 1.0  # largest size of a number of an update in a secure sum; ours are below a tenth of it
FEWEST_SITES = 3
ANY = 1e6  # a budget that nothing exceeds: what is spent is counted here, not limited


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What is promised of one patient: (epsilon, delta)-differential privacy of a whole training."""

    epsilon: float
    delta: float


@dataclass(frozen=True, slots=True)
class Course:
    """A whole training, as far as a guarantee depends on it.

    Args:
        site_patients: Training patients of the smallest site, whose patients risk most.
        settings: How a site trains in a round.
        rounds: Number of rounds of a block.
        blocks: How many blocks learn from the same patients.
    """

    site_patients: int
    settings: TrainingSettings
    rounds: int
    blocks: int = 1


class AbstractProtection(ABC):
    """A privacy plan, as an attacker meets it."""

    fewest_patients: ClassVar[int] = 1  # a site with fewer does not train

    @property
    @abstractmethod
    def name(self) -> str:
        """What tables call it."""

    @abstractmethod
    def train(
        self, block: LegoBlock, cohort: Cohort, *, task: Task, settings: TrainingSettings, seed: int
    ) -> None:
        """What a site does in a round: train the block, in place."""

    @abstractmethod
    def seen(self, updates: Sequence[BlockUpdate]) -> list[BlockUpdate]:
        """What the server sees of the updates of a round: one for each site, or one for all."""

    @abstractmethod
    def promised(self, course: Course) -> Guarantee | None:
        """What is promised of every patient after a whole training; None if nothing is."""


@final
class NoProtection(AbstractProtection):
    """`no-privacy`: the server sees every site's update as it is."""

    @property
    def name(self) -> str:
        """As in plans."""
        return "no-privacy"

    def train(
        self, block: LegoBlock, cohort: Cohort, *, task: Task, settings: TrainingSettings, seed: int
    ) -> None:
        """The project's own training."""
        Trainer(block, task=task, settings=settings, device="cpu").fit(cohort, seed=seed)

    def seen(self, updates: Sequence[BlockUpdate]) -> list[BlockUpdate]:
        """Every update, in the float32 in which it travels."""
        return [BlockUpdate(one.mean().float() * one.weight, one.weight) for one in updates]

    def promised(self, course: Course) -> None:  # noqa: ARG002
        """Nothing."""
        return


@final
class OnlyTheSum(AbstractProtection):
    """`secure-sum`: the server sees the sum over the sites, in fixed point, and nothing else.

    Masks are left out: they cancel in the sum, and a server that sees the masked words sees noise
    (`tests/unit` and SECURITY.md tell on what grounds). What is left is exactly what FSA1 gives.
    """

    @property
    def name(self) -> str:
        """As in plans."""
        return "secure-sum"

    def train(
        self, block: LegoBlock, cohort: Cohort, *, task: Task, settings: TrainingSettings, seed: int
    ) -> None:
        """The project's own training: a sum protects updates, and changes nothing about the model."""
        NoProtection().train(block, cohort, task=task, settings=settings, seed=seed)

    def seen(self, updates: Sequence[BlockUpdate]) -> list[BlockUpdate]:
        """The sum of the residues that the sites would mask."""
        return [sum_of_residues(updates)]

    def promised(self, course: Course) -> None:  # noqa: ARG002
        """Nothing that would hold for the model itself."""
        return


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
        privacy = _privacy(1.0, len_site=course.site_patients, settings=course.settings)
        noise = noise_for(
            epsilon,
            delta=privacy.delta_for(course.site_patients),
            sampling_rate=privacy.sampling_rate(course.site_patients),
            steps=privacy.steps * course.rounds * course.blocks,
        )
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
            entropy=np.random.default_rng(seed).bytes,
        )  # fmt: skip
        trainer.fit(cohort, seed=seed)

    def seen(self, updates: Sequence[BlockUpdate]) -> list[BlockUpdate]:
        """Every update, with the noise that is in it."""
        return NoProtection().seen(updates)

    def promised(self, course: Course) -> Guarantee:
        """What the accountant says."""
        privacy = _privacy(self.noise_multiplier, len_site=course.site_patients, settings=course.settings)
        delta = privacy.delta_for(course.site_patients)
        spent = epsilon_of(
            noise_multiplier=self.noise_multiplier,
            sampling_rate=privacy.sampling_rate(course.site_patients),
            steps=privacy.steps * course.rounds * course.blocks,
            delta=delta,
        )
        return Guarantee(spent, delta)


def _privacy(noise_multiplier: float, *, len_site: int, settings: TrainingSettings) -> PatientDp:
    """The plan of a site of this size: batches and passes as in its training without noise."""
    batch = min(settings.batch_size, len_site)
    steps = max(1, round(settings.epochs * len_site / batch))
    return PatientDp(
        kind="patient-dp", epsilon=ANY, noise_multiplier=noise_multiplier, batch_size=batch, steps=steps
    )


def sum_of_residues(updates: Sequence[BlockUpdate]) -> BlockUpdate:
    """Add updates as FSA1 does: weighted, clipped, rounded to fixed point, modulo 2^32.

    Raises:
        PrivacyError: If fewer than three sites contribute, which FSA1 refuses.
    """
    if len(updates) < FEWEST_SITES:
        raise PrivacyError(
            f"A sum over {len(updates)} sites shows each of them the others', and {FEWEST_SITES} are the "
            "least. Add sites, or choose another protection."
        )
    cap, bits = max(one.weight for one in updates), fraction_bits(len(updates), CLIP)
    total = np.zeros(len(updates[0].total) + 1, dtype=np.uint32)
    for one in updates:
        part = Clipped(one.mean().float().numpy(), one.weight / cap, CLIP, bits)
        words = np.empty(len(part), dtype=np.uint32)
        part.write(words, 0)
        total += words
    numbers = torch.from_numpy(from_fixed_point(total, bits=bits)) * cap
    return BlockUpdate(numbers[:-1], float(numbers[-1]) / CLIP)


def epsilon_of(*, noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> float:
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, sampling_rate, steps)]
    return accountant.get_epsilon(delta)


def noise_for(epsilon: float, *, delta: float, sampling_rate: float, steps: int) -> float:
    from opacus.accountants.utils import get_noise_multiplier

    return get_noise_multiplier(
        target_epsilon=epsilon, target_delta=delta, sample_rate=sampling_rate, steps=steps, accountant="prv"
    )
