"""Several yes-or-no questions about one patient at once."""

from typing import Any, Literal, final

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
class MultiLabel(AbstractTask):
    """Any subset of several labels per patient.

    Outcomes are one 0 or 1 per label. A logit is the log-odds of a label, a prediction its
    probability. The score is the mean over labels that some patients have and some have not.

    Args:
        labels: Names of the labels, in the order of the columns.

    Source:
        Zhang, Zhou. "A Review on Multi-Label Learning Algorithms." IEEE TKDE 26(8), 2014.
        doi:10.1109/TKDE.2013.39 (binary relevance, macro-averaged AUC).
    """

    kind: Literal["multi-label"] = "multi-label"
    labels: tuple[str, ...]

    @model_validator(mode="after")
    def _labels_fit(self) -> "MultiLabel":
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"labels must be one or more different names, not {list(self.labels)}")
        return self

    @property
    def num_outputs(self) -> int:
        """One logit per label."""
        return len(self.labels)

    @property
    def metric(self) -> str:
        """Area under the ROC curve."""
        return "AUROC"

    @property
    def outcome_columns(self) -> tuple[str, ...]:
        """The labels."""
        return self.labels

    def check_outcomes(self, outcomes: Float[Tensor, "B O"]) -> None:
        """Make sure that every label is 0 or 1."""
        check_columns(outcomes, columns=self.labels, task=self.kind)
        fits = ((outcomes == 0) | (outcomes == 1)).all(dim=1)
        check_rows(fits, task=self.kind, expected="every label must be 0 (no) or 1 (yes)")

    def loss(self, logits: Float[Tensor, "B K"], outcomes: Float[Tensor, "B O"]) -> Float[Tensor, ""]:
        """Binary cross-entropy, mean over patients and labels."""
        return functional.binary_cross_entropy_with_logits(logits, outcomes.to(logits.dtype))

    def predict(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B Q"]:
        """Probability of each label."""
        return logits.sigmoid()

    def score(self, predictions: Float[Tensor, "B Q"], outcomes: Float[Tensor, "B O"]) -> Score:
        """Area under the ROC curve, mean over labels; (positive, negative) pairs add up."""
        return macro_area_under_roc(to_numpy(predictions), to_numpy(outcomes) == 1)

    def details(
        self,
        predictions: Float[Tensor, "B Q"],
        outcomes: Float[Tensor, "B O"],
        *,
        reference: Float[Tensor, "N O"],  # noqa: ARG002
        smallest: int = SMALLEST_GROUP,
    ) -> dict[str, Any]:
        """Precision, calibration and ROC of each label.

        Returns:
            The keys that `describe_columns` documents; `by_class` has the labels.
        """
        return describe_columns(
            to_numpy(predictions), to_numpy(outcomes) == 1, names=self.labels, smallest=smallest
        )

    def strata(self, outcomes: Float[Tensor, "B O"]) -> Int[Tensor, "B"]:
        """The rarest label a patient has, counted from 1, and 0 for none: rare ones split evenly."""
        rarest_first = outcomes.sum(dim=0).argsort(stable=True)
        has = outcomes[:, rarest_first] == 1
        return torch.where(has.any(dim=1), rarest_first[has.int().argmax(dim=1)] + 1, 0)

    def count_outcomes(self, outcomes: Float[Tensor, "B O"]) -> OutcomeStatistics:
        """Patients with each label."""
        num_patients = torch.tensor(float(len(outcomes)), dtype=torch.float64)
        none = torch.zeros(0, dtype=torch.float64)
        return OutcomeStatistics(num_patients, outcomes.double().sum(dim=0), none, none)

    def agree(self, statistics: OutcomeStatistics) -> "MultiLabel":
        """The task with its base rates, once every label is known to be yes for some and no for others."""
        check_statistics(statistics, like=self.count_nobody(), task=self.kind)
        rarer = torch.minimum(statistics.counts, statistics.num_patients - statistics.counts)
        alike = [name for name, count in zip(self.labels, rarer, strict=True) if count < 0.5]
        if alike:
            names = ", ".join(f"'{name}'" for name in alike)
            raise PlanError(
                f"All training patients of all sites have the same answer for label {names}, so it cannot be "
                "learned. Take it out of task.labels, or add sites that have other patients."
            )
        base = (statistics.counts / statistics.num_patients).logit()
        return self.model_copy(update={"base_logits": tuple(base.tolist())})
