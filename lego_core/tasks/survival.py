"""Time to an event, for patients of whom many left before it."""

from itertools import pairwise
from typing import Any, Literal, final

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from lego_core._time_grid import count_times
from lego_core.errors import PlanError
from lego_core.small_cells import SMALLEST_GROUP
from lego_core.statistics import OutcomeStatistics
from lego_core.tasks._checks import check_columns, check_rows, check_statistics, to_numpy
from lego_core.tasks._contract import AbstractTask, Score
from lego_core.tasks._survival_details import describe_survival


@final
class Survival(AbstractTask):
    """Survival in discrete time: the hazard of each of K bins of time.

    Outcomes are `(time_days, event)`. A logit is the log-odds of the hazard: the probability
    of the event within a bin for who has come so far. A prediction is the survival curve at
    the end of each bin (B, K), and the risk that ranks patients is minus its sum.

    A bin holds its lower edge and not its upper one: the first begins at 0, the last never
    ends. A patient who left within a bin counts as having survived that bin.

    Args:
        num_bins: Number of bins K.
        bin_edges_days: The K - 1 edges between bins; absent until the group agreed on them
            (`agree`: the quantiles of event times), unless the plan sets them.

    Source:
        Zadeh, Schmid. "Bias in Cross-Entropy-Based Training of Deep Survival Networks."
        IEEE TPAMI 43(9), 2021. doi:10.1109/TPAMI.2020.2979450.
        Concordance: Harrell et al. "Evaluating the Yield of Medical Tests." JAMA 247(18),
        1982. doi:10.1001/jama.1982.03320430047030.
    """

    kind: Literal["survival"] = "survival"
    num_bins: int = Field(default=4, ge=2)
    bin_edges_days: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _edges_fit(self) -> "Survival":
        edges = self.bin_edges_days
        if edges is None:
            return self
        if len(edges) != self.num_bins - 1:
            raise ValueError(
                f"{self.num_bins} bins have {self.num_bins - 1} edges between them, and bin-edges-days "
                f"lists {len(edges)}"
            )
        if not all(low < high for low, high in pairwise((0.0, *edges, torch.inf))):
            raise ValueError("bin-edges-days must be finite days above 0, each later than the one before")
        return self

    @property
    def num_outputs(self) -> int:
        """One logit per bin."""
        return self.num_bins

    @property
    def metric(self) -> str:
        """Concordance index."""
        return "C-index"

    @property
    def outcome_columns(self) -> tuple[str, ...]:
        """Follow-up in days, and whether it ended with the event."""
        return ("time_days", "event")

    def check_outcomes(self, outcomes: Float[Tensor, "B O"]) -> None:
        """Make sure that times are finite and not negative, and events 0 or 1."""
        check_columns(outcomes, columns=self.outcome_columns, task=self.kind)
        times, events = outcomes.T
        fits = times.isfinite() & (times >= 0) & ((events == 0) | (events == 1))
        expected = "time_days must be a number of days, 0 or more, and event 0 (left) or 1 (seen)"
        check_rows(fits, task=self.kind, expected=expected)

    def bins_of(self, times_days: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
        """Which bin, from 0, each time falls into.

        Raises:
            PlanError: If the group has not agreed on edges yet.
        """
        edges = torch.tensor(self._edges(), dtype=torch.float64, device=times_days.device)
        return torch.bucketize(times_days.double(), edges, right=True)

    def loss(self, logits: Float[Tensor, "B K"], outcomes: Float[Tensor, "B O"]) -> Float[Tensor, ""]:
        """Negative log-likelihood under right-censoring, mean over patients.

        A patient answers one yes-or-no question per bin reached: did the event come here?

        Raises:
            PlanError: If the group has not agreed on edges yet.
        """
        times, events = outcomes.T
        last = self.bins_of(times).unsqueeze(1)
        bins = torch.arange(self.num_bins, device=logits.device)
        answers = (bins == last) & (events.unsqueeze(1) == 1)
        asked = (bins <= last).to(logits.dtype)
        loss = functional.binary_cross_entropy_with_logits
        return loss(logits, answers.to(logits.dtype), weight=asked, reduction="sum") / len(logits)

    def predict(self, logits: Float[Tensor, "B K"]) -> Float[Tensor, "B Q"]:
        """Survival at the end of each bin: the product of (1 - hazard) so far."""
        return functional.logsigmoid(-logits).cumsum(dim=1).exp()

    def score(self, predictions: Float[Tensor, "B Q"], outcomes: Float[Tensor, "B O"]) -> Score:
        """Concordance index of the risk, and the number of pairs it was counted over."""
        risk = -to_numpy(predictions).sum(axis=1)
        times, events = to_numpy(outcomes).T
        events = events == 1
        if not _any_comparable(times, events):
            return Score(0.5, 0.0)
        from sksurv.metrics import concordance_index_censored  # slow to import

        value, concordant, discordant, tied, _ = concordance_index_censored(events, times, risk)
        return Score(float(value), float(concordant + discordant + tied))

    def details(
        self,
        predictions: Float[Tensor, "B Q"],
        outcomes: Float[Tensor, "B O"],
        *,
        reference: Float[Tensor, "N O"],
        smallest: int = SMALLEST_GROUP,
    ) -> dict[str, Any]:
        """Integrated Brier score, calibration and Kaplan-Meier curves by risk.

        Returns:
            The keys that `describe_survival` documents.

        Raises:
            PlanError: If the group has not agreed on edges yet.
        """
        tables = (to_numpy(table) for table in (predictions, outcomes, reference))
        return describe_survival(*tables, edges_days=self._edges(), smallest=smallest)

    def strata(self, outcomes: Float[Tensor, "B O"]) -> Int[Tensor, "B"]:
        """1 for patients whose event was seen, 0 for the others."""
        return (outcomes[:, 1] == 1).long()

    def count_outcomes(self, outcomes: Float[Tensor, "B O"]) -> OutcomeStatistics:
        """Censored patients, events, and when they left or came."""
        seen = outcomes[:, 1] == 1
        counts = torch.stack([(~seen).sum(), seen.sum()]).double()
        times = outcomes[:, 0]
        return OutcomeStatistics(counts.sum(), counts, count_times(times[seen]), count_times(times[~seen]))

    def agree(self, statistics: OutcomeStatistics) -> "Survival":
        """Set the edges to quantiles of event times, unless the plan set them; and the base rates."""
        check_statistics(statistics, like=self.count_nobody(), task=self.kind)
        edges = self.bin_edges_days or statistics.event_time_quantiles(self.num_bins)
        base_logits = tuple(statistics.hazards(edges).logit().tolist())
        return self.model_copy(update={"bin_edges_days": edges, "base_logits": base_logits})

    def _edges(self) -> tuple[float, ...]:
        if self.bin_edges_days is None:
            raise PlanError(
                f"Task 'survival' has {self.num_bins} time bins and no edges between them yet. Let the group "
                "agree on them first (task.agree), or set task.bin-edges-days in the plan."
            )
        return self.bin_edges_days


def _any_comparable(times: Float[np.ndarray, "B"], events: np.ndarray) -> bool:
    if not events.any():
        return False
    first = times[events].min()
    return bool((times > first).any() or (times[~events] == first).any())
