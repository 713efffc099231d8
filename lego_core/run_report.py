"""RunReport: all that a run has to tell, as one plain document (`report.json`)."""

from typing import Literal, final

from pydantic import Field

from lego_core.component import Component
from lego_core.evaluation import EvaluationReport
from lego_core.hindsight import Hindsight
from lego_core.mergeability import MergeabilityPair
from lego_core.protocol import ChartRow, Progress
from lego_core.recommendation import Recommendation
from lego_core.sum_letters import Spent

Phase = Literal["offer", "agree", "blocks", "merge", "fuse", "evaluate"]


@final
class SiteSummary(Component):
    """One site, as far as the server knows it. Numbers of patients are rounded down to tens."""

    site: str
    patients: dict[str, int]
    paired_patients: int


@final
class LeftOut(Component):
    """A site that took no part in something, and the reason in public words.

    Args:
        budget_spent: Whether its privacy budget allows no such training any more.
    """

    site: str
    phase: Phase
    round: int
    modality: str = ""
    declined: bool = False
    reason: str
    budget_spent: bool = False


@final
class LearningPoint(Component):
    """One site in one round: one point of its learning curve.

    Args:
        train_loss: Mean loss of the last epoch of local training.
        validation_loss: Mean loss of the weights it received, on its validation patients;
            absent without such patients.
    """

    phase: Literal["blocks", "fuse"]
    round: int
    site: str
    modality: str
    train_loss: float | None = None
    validation_loss: float | None = None
    seconds: float

    @classmethod
    def of(
        cls,
        progress: Progress,
        *,
        phase: Literal["blocks", "fuse"],
        round_number: int,
        site: str,
        modality: str,
    ) -> "LearningPoint":
        """What a site, or several together, told of a round."""
        validated = progress.validation_patients
        return cls(
            phase=phase,
            round=round_number,
            site=site,
            modality=modality,
            train_loss=progress.train_losses[-1] if progress.train_losses else None,
            validation_loss=progress.validation_loss / validated if validated else None,
            seconds=progress.seconds,
        )


@final
class RoundSummary(Component):
    """One round of one block (or of the fused model, whose modality reads `fused`).

    Args:
        asked: Sites that were asked.
        answered: Sites whose answers were used.
        validation_loss: Mean over the validation patients of all sites, of the weights the
            round started from; absent without such patients.
    """

    phase: Literal["blocks", "fuse"]
    round: int
    modality: str
    asked: tuple[str, ...]
    answered: tuple[str, ...]
    validation_loss: float | None = None


@final
class Resumed(Component):
    """A run that broke off was taken up again.

    Args:
        checkpoint: Where it went on from.
        when: Date and time.
    """

    checkpoint: str
    when: str


@final
class SiteCharts(Component):
    """Chart points of one site."""

    site: str
    rows: tuple[ChartRow, ...]


@final
class Examined(Component):
    """One attack on one model of the project's own, and what it came to.

    Args:
        attack: Who attacks, and how: `loss threshold`, `likelihood ratio`, `inversion`, `canaries`.
        measure: What the value counts.
        model: The model, or the update, that was attacked.
        plan: The privacy plan it was made under.
        value: How well the attack does.
        low: Lower end of its 95 % interval; absent where the value itself is a bound.
        high: Upper end, likewise.
        chance: What an attacker reaches who sees nothing.
        claimed: The epsilon that the plan promises; absent if it promises none.
        leaks: Whether the attack does better than chance, beyond doubt.
        sentence: The same for people.
    """

    attack: Literal["loss threshold", "likelihood ratio", "inversion", "canaries"]
    measure: Literal["AUC", "TPR at 1 % FPR", "cosine", "epsilon"]
    model: str
    plan: str
    value: float
    low: float | None = None
    high: float | None = None
    chance: float
    claimed: float | None = None
    leaks: bool
    sentence: str


@final
class RunReport(Component):
    """What a run did and what came of it.

    Args:
        status: `complete`; `complete-with-absences` if a site that was asked is missing
            somewhere; `failed`, with the reason.
        privacy_kind: The privacy plan, by name.
        privacy_claim: What it protects and what it does not, in whole sentences.
        features: Number of agreed features of each modality.
        bin_edges_days: Inner edges of the time bins, for survival.
        kept_rounds: For each block, the round whose weights were kept (0: the start).
        parameters: Number of parameters of each block, and of the fused model.
        spent: What private training has cost each site so far, over all runs, as it said last.
        modality_weights: How much each modality counts in the merge; what matters is their
            ratio. Empty before a merge.
        mergeability: How far every two blocks lie apart: the forecast before the merge.
        results: The scores; absent in a failed run.
        recommendation: Which model to use, chosen on validation patients.
        hindsight: Whether the forecast was right.
        resumed: How often the run broke off and went on, and where from.
        self_examination: What attacks on the finished model came to; empty if nobody attacked it.
    """

    format: Literal[1] = 1
    plan: str
    description: str
    task: str
    status: Literal["complete", "complete-with-absences", "failed"]
    reason: str = ""
    started: str
    seconds: float
    privacy_kind: str
    privacy_claim: str
    sites: tuple[SiteSummary, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    features: dict[str, int] = Field(default_factory=dict)
    bin_edges_days: tuple[float, ...] = ()
    rounds: tuple[RoundSummary, ...] = ()
    learning: tuple[LearningPoint, ...] = ()
    kept_rounds: dict[str, int] = Field(default_factory=dict)
    parameters: dict[str, int] = Field(default_factory=dict)
    spent: dict[str, Spent] = Field(default_factory=dict)
    modality_weights: dict[str, float] = Field(default_factory=dict)
    mergeability: tuple[MergeabilityPair, ...] = ()
    results: EvaluationReport | None = None
    recommendation: Recommendation | None = None
    hindsight: Hindsight | None = None
    charts: tuple[SiteCharts, ...] = ()
    resumed: tuple[Resumed, ...] = ()
    self_examination: tuple[Examined, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
