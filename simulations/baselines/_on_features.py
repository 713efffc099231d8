"""What the classical baselines share: a fitted model that reads the feature table."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import TrainingSettings
from simulations.baselines._choosing import best_on
from simulations.baselines._contract import AbstractBaseline
from simulations.baselines._features import FeatureTable

M = TypeVar("M")


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a classical baseline learns from.

    Args:
        table: How rows are made of patients.
        train: Patients to learn from.
        validation: Patients to choose on, perhaps nobody.
        task: What is predicted.
        seed: Decides all that is random.
    """

    table: FeatureTable
    train: Cohort
    validation: Cohort
    task: Task
    seed: int

    def best(self, models: Sequence[M], answer: Callable[[M, np.ndarray], np.ndarray]) -> M:
        """The model that scores best on the validation patients; the first if there are none.

        Args:
            models: The simplest first.
            answer: A model and rows to predictions.
        """
        if not len(self.validation):
            return models[0]
        rows = self.table.filled(self.validation)
        predictions = [torch.from_numpy(answer(model, rows)) for model in models]
        return models[best_on(self.validation, predictions, task=self.task)]


@dataclass(frozen=True, slots=True, eq=False)
class FittedOnFeatures:
    """A model that reads one row of numbers per patient.

    Args:
        table: How rows are made.
        answer: Rows to predictions.
        num_parameters: Coefficients, or nodes of trees.
        reads_missing: Whether the model knows what to do where nothing was measured; if not,
            it is given the training mean.
    """

    table: FeatureTable
    answer: Callable[[np.ndarray], np.ndarray]
    num_parameters: int
    reads_missing: bool = False

    def predict(self, cohort: Cohort) -> Float[Tensor, "B Q"]:
        """Make the rows, and predict."""
        rows = self.table.matrix(cohort) if self.reads_missing else self.table.filled(cohort)
        return torch.from_numpy(self.answer(rows)).float()


class AbstractOnFeatures(AbstractBaseline):
    """A baseline that reads one row of numbers per patient, and has settings of its own."""

    @final
    def _fit(
        self,
        train: Cohort,
        validation: Cohort,
        *,
        task: Task,
        settings: TrainingSettings,  # noqa: ARG002 - they are for networks
        seed: int,
    ) -> FittedOnFeatures:
        return self._learn(Lesson(FeatureTable.of(train), train, validation, task, seed))

    @abstractmethod
    def _learn(self, lesson: Lesson) -> FittedOnFeatures:
        """Train on rows of the table."""
