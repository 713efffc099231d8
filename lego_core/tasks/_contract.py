"""What every prediction task promises."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lego_core.component import Component
from lego_core.records import Cohort
from lego_core.small_cells import SMALLEST_GROUP
from lego_core.statistics import OutcomeStatistics, training_outcomes


@dataclass(frozen=True, slots=True)
class Score:
    """A rank metric, and how much it rests on.

    Args:
        value: Concordance index or area under the ROC curve, in [0, 1].
        pairs: Number of comparable pairs of patients. Zero if there are none, and then
            `value` is 0.5 and means nothing.
    """

    value: float
    pairs: float


class AbstractTask(Component):
    """What is predicted: how many outputs, which loss, which metric.

    Outcomes are rows of `Outcome.values`. A *prediction* is what a reader can use: class
    probabilities, or the survival curve at the end of each time bin.

    Args:
        base_logits: The K logits that say of every patient what is true of the group: a block
            that knows nothing yet starts from them. Absent until the group agreed.
    """

    base_logits: tuple[float, ...] | None = None

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Number of outputs K of a block's head."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """Name of the main metric, as a reader knows it: `C-index`, `AUROC`."""

    @property
    def chance(self) -> float:
        """What a coin scores on the main metric."""
        return 0.5

    @property
    @abstractmethod
    def outcome_columns(self) -> tuple[str, ...]:
        """Names of the O columns of outcomes, in order."""

    @abstractmethod
    def check_outcomes(self, outcomes: Float[Tensor, "B O"]) -> None:
        """Make sure that these are outcomes of this task.

        Raises:
            DataError: If they have another number of columns, or hold values that cannot be.
        """

    @abstractmethod
    def loss(self, logits: Float[Tensor, "B K"], outcomes: Float[Tensor, "B O"]) -> Float[Tensor, ""]:
        """Mean loss over the patients."""

    @abstractmethod
    def predict(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B Q"]:
        """Turn logits into predictions that may be averaged (the probability ensemble)."""

    @abstractmethod
    def score(self, predictions: Float[Tensor, "B Q"], outcomes: Float[Tensor, "B O"]) -> Score:
        """The main metric. Fast enough to be called a thousand times in a bootstrap.

        Raises:
            DataError: If a prediction is not a finite number.
        """

    @abstractmethod
    def details(
        self,
        predictions: Float[Tensor, "B Q"],
        outcomes: Float[Tensor, "B O"],
        *,
        reference: Float[Tensor, "N O"],
        smallest: int = SMALLEST_GROUP,
    ) -> dict[str, Any]:
        """Further metrics and the points of the charts, as plain JSON values.

        Everything in it is an aggregate over at least ten patients, or as many as are asked for; what
        would be one over fewer is None, and so is a number of patients that would give theirs away.

        Args:
            predictions: Predictions for the patients.
            outcomes: What became of them.
            reference: Outcomes of the site's training patients, or of its test patients where nothing
                may be told of the former, for metrics that need a censoring distribution.
            smallest: Fewest patients.
        """

    @abstractmethod
    def strata(self, outcomes: Float[Tensor, "B O"]) -> Int[Tensor, "B"]:
        """A small whole number per patient; splits keep its proportions."""

    @abstractmethod
    def count_outcomes(self, outcomes: Float[Tensor, "B O"]) -> OutcomeStatistics:
        """What the group must know about outcomes before it agrees; B may be zero."""

    @abstractmethod
    def agree(self, statistics: OutcomeStatistics) -> "AbstractTask":
        """The same task with what the group decides from its pooled statistics: its base rates, at least.

        Raises:
            PlanError: If the group cannot learn this task from these patients.
            ShapeError: If the statistics were counted for another task.
        """

    def count_nobody(self) -> OutcomeStatistics:
        """Counts over no patients: zeros, of the sizes that this task has."""
        return self.count_outcomes(torch.zeros(0, len(self.outcome_columns)))

    def summarise(self, cohort: Cohort) -> OutcomeStatistics:
        """Count the outcomes of a cohort's training patients.

        Raises:
            DataError: If patients were not yet given a part of the split, or if outcomes are
                not outcomes of this task.
        """
        outcomes = training_outcomes(cohort, num_columns=len(self.outcome_columns))
        self.check_outcomes(outcomes)
        return self.count_outcomes(outcomes)
