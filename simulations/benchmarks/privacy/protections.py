"""What a privacy plan does to a training, and what it lets the server see: one small object each."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch

from lego_core.block import LegoBlock
from lego_core.errors import PrivacyError
from lego_core.privacy import FEWEST_IN_A_SUM
from lego_core.privacy.fsa1.fixed_point import fraction_bits, from_fixed_point
from lego_core.privacy.fsa1.vectors import Clipped
from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import Trainer, TrainingSettings
from lego_core.update import BlockUpdate

CLIP = 1.0  # largest size of a number of an update in a secure sum; ours are below a tenth of it


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


def sum_of_residues(updates: Sequence[BlockUpdate]) -> BlockUpdate:
    """Add updates as FSA1 does: weighted, clipped, rounded to fixed point, modulo 2^32.

    Raises:
        PrivacyError: If fewer than three sites contribute, which FSA1 refuses.
    """
    if len(updates) < FEWEST_IN_A_SUM:
        raise PrivacyError(
            f"A sum over {len(updates)} sites shows each of them the others', and {FEWEST_IN_A_SUM} are the "
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
