"""One class out of several, or yes or no."""

from typing import Any, Literal, final

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional

from lego_core.errors import PlanError
from lego_core.small_cells import SMALLEST_GROUP
from lego_core.statistics import OutcomeStatistics
from lego_core.tasks._binary_details import describe_columns
from lego_core.tasks._checks import check_columns, check_rows, check_statistics, to_numpy
from lego_core.tasks._contract import AbstractTask, Score
from lego_core.tasks._ranking import macro_area_under_roc


@final
class Classification(AbstractTask):
    """Exactly one of several classes per patient.

    Outcomes are `(class index,)`, counted from 0. Two classes need one logit (K = 1), the
    log-odds of the second class; more classes need one logit each. A prediction always has
    one probability per class, two classes included, and its rows sum to 1.

    Two classes are scored by the second; more are scored one against the rest, and the mean
    is taken over the classes that some patients have and some have not.

    Args:
        classes: Names of the classes, in the order of their indices.
        class_weights: How much a patient of each class counts in the loss, which stays a mean
            over patients: it is not divided by the weights. Without them, everybody counts 1.

    Source:
        Hand, Till. "A Simple Generalisation of the Area Under the ROC Curve for Multiple
        Class Classification Problems." Machine Learning 45, 2001. doi:10.1023/A:1010920819831
        (discusses the one-against-rest mean, Provost and Domingos, used here).
    """

    kind: Literal["classification"] = "classification"
    classes: tuple[str, ...]
    class_weights: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _classes_fit(self) -> "Classification":
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be two or more different names, not {list(self.classes)}")
        weights = self.class_weights
        if weights is not None and len(weights) != len(self.classes):
            raise ValueError(f"class-weights lists {len(weights)} weights for {len(self.classes)} classes")
        if weights is not None and not all(0 < weight < float("inf") for weight in weights):
            raise ValueError("class-weights must be finite numbers above 0")
        return self

    @property
    def num_outputs(self) -> int:
        """One logit for two classes, otherwise one per class."""
        return 1 if self._is_binary else len(self.classes)

    @property
    def metric(self) -> str:
        """Area under the ROC curve."""
        return "AUROC"

    @property
    def outcome_columns(self) -> tuple[str, ...]:
        """The index of the class."""
        return ("class",)

    def check_outcomes(self, outcomes: Float[Tensor, "B O"]) -> None:
        """Make sure that every outcome is the index of a class."""
        check_columns(outcomes, columns=self.outcome_columns, task=self.kind)
        indices = torch.arange(len(self.classes), device=outcomes.device)
        last = len(self.classes) - 1
        expected = (
            f"a class must be a whole number from 0 ('{self.classes[0]}') to {last} ('{self.classes[-1]}')"
        )
        check_rows(torch.isin(outcomes[:, 0], indices.to(outcomes)), task=self.kind, expected=expected)

    def loss(self, logits: Float[Tensor, "B K"], outcomes: Float[Tensor, "B O"]) -> Float[Tensor, ""]:
        """Cross-entropy, each patient times the weight of its class, mean over patients."""
        chosen = outcomes[:, 0].long()
        if self._is_binary:
            answers = chosen.to(logits.dtype)
            losses = functional.binary_cross_entropy_with_logits(logits[:, 0], answers, reduction="none")
        else:
            losses = functional.cross_entropy(logits, chosen, reduction="none")
        if self.class_weights is not None:
            losses = losses * torch.tensor(self.class_weights).to(losses)[chosen]
        return losses.mean()

    def predict(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B Q"]:
        """Probability of each class."""
        if self._is_binary:
            return torch.cat([-logits, logits], dim=1).sigmoid()
        return logits.softmax(dim=1)

    def score(self, predictions: Float[Tensor, "B Q"], outcomes: Float[Tensor, "B O"]) -> Score:
        """Area under the ROC curve, and the number of (positive, negative) pairs."""
        return macro_area_under_roc(*self._judged(predictions, outcomes))

    def details(
        self,
        predictions: Float[Tensor, "B Q"],
        outcomes: Float[Tensor, "B O"],
        *,
        reference: Float[Tensor, "N O"],  # noqa: ARG002
        smallest: int = SMALLEST_GROUP,
    ) -> dict[str, Any]:
        """Precision, calibration and ROC of the judged classes.

        Returns:
            The keys that `describe_columns` documents; for two classes, `by_class` has the
            second alone.
        """
        names = self.classes[1:] if self._is_binary else self.classes
        return describe_columns(
            *self._judged(predictions, outcomes), names=names, smallest=smallest, is_whole=not self._is_binary
        )

    def strata(self, outcomes: Float[Tensor, "B O"]) -> Int[Tensor, "B"]:
        """The class."""
        return outcomes[:, 0].long()

    def count_outcomes(self, outcomes: Float[Tensor, "B O"]) -> OutcomeStatistics:
        """Patients per class."""
        counts = outcomes[:, 0].long().bincount(minlength=len(self.classes)).double()
        none = torch.zeros(0, dtype=torch.float64)
        return OutcomeStatistics(counts.sum(), counts, none, none)

    def agree(self, statistics: OutcomeStatistics) -> "Classification":
        """The task with its base rates, once every class is known to occur somewhere."""
        check_statistics(statistics, like=self.count_nobody(), task=self.kind)
        absent = [name for name, count in zip(self.classes, statistics.counts, strict=True) if count < 0.5]
        if absent:
            names = ", ".join(f"'{name}'" for name in absent)
            raise PlanError(
                f"No training patient of any site has class {names}, so it cannot be learned. "
                "Take it out of task.classes, or add sites that have such patients."
            )
        rates = (statistics.counts * torch.tensor(self.class_weights or [1.0] * len(self.classes))).log()
        base = rates[1:] - rates[:1] if self._is_binary else rates - rates.mean()
        return self.model_copy(update={"base_logits": tuple(base.tolist())})

    @property
    def _is_binary(self) -> bool:
        return len(self.classes) == 2

    def _judged(self, predictions: Tensor, outcomes: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Probability and truth of each class that is scored: the second of two, or all."""
        first = 1 if self._is_binary else 0
        truth = to_numpy(outcomes) == np.arange(len(self.classes))
        return to_numpy(predictions)[:, first:], truth[:, first:]
