"""What the classical baselines share: a fitted model that reads the feature table."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import TrainingSettings
from simulations.baselines._contract import AbstractBaseline
from simulations.baselines._features import FeatureTable


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
    """A baseline that reads one row of numbers per patient, and has settings of its own.

    Attributes:
        tasks: Kinds of the tasks that it can learn.
    """

    tasks: ClassVar[tuple[str, ...]]

    @final
    def unfit_for(self, cohort: Cohort, *, task: Task) -> str | None:  # noqa: ARG002 - every cohort has rows
        """Whether the library behind it knows such tasks."""
        if task.kind in self.tasks:
            return None
        known = " and ".join(f"'{kind}'" for kind in self.tasks)
        return f"It learns tasks of kind {known}, and this one is of kind '{task.kind}'."

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
        return self._learn(FeatureTable.of(train), train, validation, task=task, seed=seed)

    @abstractmethod
    def _learn(
        self, table: FeatureTable, train: Cohort, validation: Cohort, *, task: Task, seed: int
    ) -> FittedOnFeatures:
        """Train on rows of the table."""
