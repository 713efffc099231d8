"""What crosses the wire: the questions of the server and the answers of a site.

Nothing crosses that is not in this file, or in `sum_letters.py`. Each answer says what it reveals
and to whom; the gate of a site lets no other letter out, and no tensor that was not declared.
Where the plan sums securely, what is said here of a site's numbers is true of their sum over at
least three sites, and nobody sees those of one.
"""

import hashlib
import json
from collections.abc import Mapping
from math import isfinite
from typing import ClassVar, Literal, final

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from lego_core.component import Component, explain
from lego_core.encoders import Encoder
from lego_core.errors import ProtocolError
from lego_core.letters import AbstractMessage
from lego_core.records import ModalitySchema
from lego_core.sum_letters import SUM_ANSWERS, SUM_QUESTIONS, Invitation, MaskedVectors, Spent
from lego_core.tasks import Task
from lego_core.trunk import LatentContract

MOST_PATIENTS = 1e9  # a site that claims more is wrong
Method = Literal["block", "ensemble", "merge", "fuse"]

# ---- what the server asks ------------------------------------------------------------------


@final
class AskOffer(AbstractMessage):
    """Ask a site what it holds."""

    kind: ClassVar[str] = "query.offer"


class AbstractSummable(AbstractMessage):
    """A question for numbers, which are summed unseen where it comes with invitations.

    Args:
        sums: For each sum that the answer goes into, by its name, how to take part; empty where
            the plan lets the numbers travel as they are.
        weights: SHA-256 of every tensor of the model that anybody is sent, by name; where numbers
            are summed, so that no site is sent other weights than the rest.
    """

    sums: dict[str, Invitation] = Field(default_factory=dict)
    weights: dict[str, str] = Field(default_factory=dict)
    OWN: ClassVar[frozenset[str]] = frozenset()  # what differs between the sites of one sum

    @property
    def task_sha256(self) -> str:
        """Hash of what all sites of a sum are asked alike."""
        alike = self.model_dump(mode="json", exclude={"sums", *self.OWN})
        return hashlib.sha256(json.dumps([self.kind, alike], sort_keys=True).encode()).hexdigest()


@final
class Agreement(Component):
    """What the sites of a run agreed on before any training.

    Args:
        schemas: Layout and features of every modality, the same at all its sites.
        task: The task with its time bins and the base rates of the group, as `base_logits`.
            Every site learns them: the share of events per time bin, of classes, of labels.
        normalised_at_sites: Modalities whose means and spreads nobody shares, since too few sites
            have them: every site takes those of its own training patients.
    """

    schemas: dict[str, ModalitySchema]
    task: Task
    normalised_at_sites: tuple[str, ...] = ()


@final
class AskStatistics(AbstractSummable):
    """Ask for the sums behind the normalisation of one modality, over training patients only.

    Args:
        modality: Whose features to sum up.
        schema_of_group: Features and their order.
    """

    kind: ClassVar[str] = "query.statistics"
    modality: str
    schema_of_group: ModalitySchema


@final
class AskOutcomes(AbstractSummable):
    """Ask for the counts behind time bins and base rates, over all training patients of a site."""

    kind: ClassVar[str] = "query.outcomes"


@final
class AskBlockUpdate(AbstractSummable):
    """Ask a site to train one block. Tensors: the block's whole state.

    Args:
        modality: Which block.
        round: Number of the round, from 1.
        to_the_end: Train for all epochs of the plan (one-shot), with early stopping if it keeps
            the best weights; otherwise for its local epochs.
        score_only: Only score the given weights on validation patients; nothing is trained.
    """

    kind: ClassVar[str] = "train.block"
    agreement: Agreement
    modality: str
    round: int = Field(ge=1)
    to_the_end: bool = False
    score_only: bool = False


@final
class AskFuseUpdate(AbstractSummable):
    """Ask a site with paired patients to train the fused model. Tensors: its state.

    Args:
        modalities: The blocks, in order; those that the site holds.
        round: Number of the round, from 1.
        score_only: As for a block.
    """

    kind: ClassVar[str] = "train.fuse"
    OWN: ClassVar[frozenset[str]] = frozenset({"modalities"})
    agreement: Agreement
    modalities: tuple[str, ...]
    round: int = Field(ge=1)
    score_only: bool = False


@final
class AskGrams(AbstractSummable):
    """Ask what the linear layers of a trained block are fed. Tensors: the block's whole state.

    Args:
        modality: Which block.
    """

    kind: ClassVar[str] = "query.grams"
    agreement: Agreement
    modality: str


@final
class AskReport(AbstractSummable):
    """Ask a site to evaluate. Tensors: the blocks it can use and, if there is one, the fused model.

    What the merge works with is among them: the weights of modalities and, if heads merge by
    Gram matrices, their mean over all sites for the head's layers. Over one site, it is this
    site's own.

    Args:
        modalities: The blocks that are sent: those that the site holds.
        with_fused: Whether the fused model is among the tensors.
    """

    kind: ClassVar[str] = "evaluate.model"
    OWN: ClassVar[frozenset[str]] = frozenset({"modalities"})
    agreement: Agreement
    modalities: tuple[str, ...]
    with_fused: bool = False


# ---- what leaves a site --------------------------------------------------------------------


@final
class ModalityOffer(Component):
    """One modality a site holds.

    Args:
        schema_here: Layout and features at this site.
        patients: How many training patients have it, rounded down to tens.
        trains: Whether any training patient has it.
        fuses: Whether any has it together with another of the modalities.
        judges: Whether enough validation patients have it for the site's rules.
        encoder: How the site's plan has it encoded.
    """

    schema_here: ModalitySchema
    encoder: Encoder
    patients: int = Field(ge=0)
    trains: bool
    fuses: bool = False
    judges: bool = False


@final
class Offer(AbstractMessage):
    """What a site holds.

    Reveals to the server: the site's name, its modalities and their feature names, numbers of
    patients rounded down to tens, which modalities any patients are there for to train, fuse and
    judge, and of which sets of modalities there are enough patients to score models on. Nothing
    of any patient.

    Args:
        site: Name of the site.
        plan: Name of the plan the site has read.
        latent: The latent contract in that plan; blocks merge only under one contract.
        modalities: What it holds.
        paired_patients: Training patients with more than one modality, rounded down to tens.
        paired: Whether there is any such patient.
        judges_paired: Whether enough validation patients have more than one, for the site's rules.
        test_groups: The sets of modalities that enough test patients hold for their scores to leave
            the site (`evaluation.smallest-count`, or the site's own), and to tell of no fewer.
        validation_groups: Likewise, of validation patients.
    """

    kind: ClassVar[str] = "offer"
    site: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    plan: str
    latent: LatentContract
    modalities: dict[str, ModalityOffer]
    paired_patients: int = Field(ge=0)
    paired: bool
    judges_paired: bool = False
    test_groups: tuple[tuple[str, ...], ...] = ()
    validation_groups: tuple[tuple[str, ...], ...] = ()


@final
class Statistics(AbstractMessage):
    """Sums over a site's training patients. Tensors: of `FeatureStatistics`.

    Reveals to the server: per feature the number of measured values, their sum and sum of
    squares. Nothing is sent if fewer than two have the modality. To the other sites: what all
    sites' sums come to, as means and spreads; over one site, they are this site's own.
    """

    kind: ClassVar[str] = "statistics"
    modality: str


@final
class Outcomes(AbstractMessage):
    """Counts of a site's training patients. Tensors: of `OutcomeStatistics`.

    Reveals to the server: how many patients there are; how many are in each class, or have each
    label, or the event; for survival, two histograms of times, of the events and of those who
    left without one. Their bins are 1 % wide: where few patients share a bin, that is nearly
    each patient's follow-up time. Nothing is sent if there are fewer than two. To the other
    sites: what all sites' counts come to, as time bins and base rates; over one site, they are
    this site's own.
    """

    kind: ClassVar[str] = "outcomes"


@final
class Progress(AbstractMessage):
    """How the weights that a site received did there, and how training went.

    Reveals to the server: in every round, mean training losses, and of the validation patients
    how many there are, their summed loss, and how well they were ranked. Nothing is withheld,
    however few they are: of one patient, it is this patient's loss.

    Args:
        train_losses: Mean training loss of each epoch; empty where nothing was trained.
        validation_loss: Loss of the received weights, summed over validation patients.
        validation_patients: Number of these patients; 0 without any.
        validation_score: The main metric of the received weights, on the same patients.
        validation_pairs: Comparable pairs behind it.
        seconds: How long the site computed.
    """

    kind: ClassVar[str] = "progress"
    train_losses: tuple[float, ...] = ()
    validation_loss: float = 0.0
    validation_patients: int = Field(default=0, ge=0)
    validation_score: float = Field(default=0.5, ge=0, le=1)
    validation_pairs: float = Field(default=0.0, ge=0)
    seconds: float = Field(default=0.0, ge=0)

    def check_finite(self, *, sender: str) -> None:
        """Refuse losses that are not finite: one of them would spoil the mean of all sites.

        Raises:
            ProtocolError: Naming the sender.
        """
        if not all(isfinite(loss) for loss in (*self.train_losses, self.validation_loss)):
            raise ProtocolError(
                f"{sender} sent a loss that is not finite. The letter was put aside; lower the learning "
                "rate, or look for broken values in the data."
            )

    def scores_to_sums(self) -> dict[str, Tensor]:
        """How the weights did, as numbers that add up over sites."""
        return _as_numbers(
            {
                "validation_loss": self.validation_loss,
                "validation_patients": self.validation_patients,
                "validation_ranked": self.validation_score * self.validation_pairs,
                "validation_pairs": self.validation_pairs,
            }
        )

    def losses_to_sums(self, *, train_patients: int = 0, shortened: bool = False) -> dict[str, Tensor]:
        """How training went, likewise.

        Args:
            train_patients: Patients behind the training loss.
            shortened: Whether the update was longer than the plan allows.
        """
        last = self.train_losses[-1] if self.train_losses else 0.0
        return _as_numbers(
            {"train_loss": last * train_patients, "train_patients": train_patients, "shortened": shortened}
        )

    @classmethod
    def from_sums(cls, sums: Mapping[str, Tensor]) -> "Progress":
        """Read what the numbers of all sites come to, as if one site had all their patients.

        Args:
            sums: Scores, losses, or both.

        Raises:
            ProtocolError: If no faithful numbers come to that.
        """
        nothing = cls().scores_to_sums() | cls().losses_to_sums()
        numbers = {name: float(value) for name, value in {**nothing, **sums}.items()}
        pairs, trained = numbers["validation_pairs"], numbers["train_patients"]
        plain = {
            "validation_loss": numbers["validation_loss"],
            "validation_patients": round(numbers["validation_patients"]),
            "validation_pairs": pairs,
            "validation_score": numbers["validation_ranked"] / pairs if pairs else 0.5,
            "train_losses": (numbers["train_loss"] / trained,) if trained else (),
        }
        try:
            return cls.model_validate(plain)
        except ValidationError as error:
            raise explain(error, where="The sum of all sites' losses", kind=ProtocolError) from error


def _as_numbers(numbers: Mapping[str, float]) -> dict[str, Tensor]:
    return {name: torch.tensor(float(value), dtype=torch.float64) for name, value in numbers.items()}


@final
class Update(AbstractMessage):
    """A protected update. Tensors: those that the privacy plan declares, and nothing else.

    Reveals to the server: what the privacy plan says (see its `claim`), the number of training
    patients, and all that `Progress` reveals.

    Args:
        weight: Training patients behind it; 0 where the weights were only scored.
        progress: Losses, for the learning curves.
        spent: What the site's private training has cost, if there is any.
    """

    kind: ClassVar[str] = "update"
    weight: float = Field(ge=0, le=MOST_PATIENTS)
    progress: Progress
    spent: Spent | None = None


@final
class Grams(AbstractMessage):
    """Sums over a site's training patients of what a block's linear layers are fed. Tensors: of
    `GramStatistics`.

    Reveals to the server: how many training patients have the modality, and per layer of
    trunk and head the sum of x x^T over its inputs x: their mean square and how they hang
    together, over no fewer patients than the smallest count of plan and site, and never under two. Asked
    only where the plan's merge method works with it. To the other sites, and to who gets the
    bundle: the mean over all sites for the head's layers, if heads merge with it.
    """

    kind: ClassVar[str] = "grams"
    modality: str


@final
class ScoreRow(Component):
    """One score of one model on one set of patients kept apart.

    Args:
        method: `block`, `ensemble`, `merge` or `fuse`.
        modalities: What the model was allowed to see.
        patients: `complete`: those who have all modalities of the run; `holding`: those
            who have at least these.
        count: Number of patients; never fewer than the smallest count of plan and site.
        value: The metric.
        pairs: Comparable pairs behind it.
        resampled: Metric and pairs of every bootstrap resample; the same resamples for
            every method, so that differences can be taken.
    """

    method: Method
    modalities: tuple[str, ...]
    patients: Literal["complete", "holding"]
    count: int = Field(ge=1)
    value: float
    pairs: float = Field(ge=0)
    resampled: tuple[tuple[float, float], ...] = ()


@final
class ChartRow(Component):
    """What a chart needs about one model: rates and curves of groups of at least ten patients."""

    method: Method
    modalities: tuple[str, ...]
    patients: Literal["complete", "holding"]
    count: int = Field(ge=1)
    details: dict[str, object]


@final
class SiteReport(AbstractMessage):
    """How the models did at one site.

    Reveals to the server: scores with numbers of patients and comparable pairs, both again for
    every resample, and chart points of groups of at least ten patients. Scores of fewer
    patients than the smallest count of plan and site are withheld, and so are those whose number
    of patients would tell of fewer by subtraction. Comparable pairs tell how many patients had
    the event, or each class, however few. Resamples follow from the plan's
    seed: of some twenty patients or fewer, they tell which pairs were ranked rightly.

    Args:
        scores: One row per model, subset of modalities and set of test patients.
        charts: Chart points of the main models.
        withheld: How many rows were withheld because too few patients stood behind them, or would
            follow from them.
        validation: On complete validation patients, one row per block and per model that
            sees every modality of the run.
        validation_withheld: How many of these were withheld.
    """

    kind: ClassVar[str] = "site-report"
    scores: tuple[ScoreRow, ...]
    charts: tuple[ChartRow, ...] = ()
    withheld: int = Field(default=0, ge=0)
    validation: tuple[ScoreRow, ...] = ()
    validation_withheld: int = Field(default=0, ge=0)


@final
class Refusal(AbstractMessage):
    """A site declines, or failed. Reveals the public text of the error and nothing else.

    Args:
        declined: True if the site chose not to take part; False if something broke.
        budget_spent: True if the site's privacy budget allows no such training any more.
        public: What went wrong, where, and what to do.
    """

    kind: ClassVar[str] = "refusal"
    declined: bool
    public: str
    budget_spent: bool = False


QUESTIONS = (
    AskOffer, AskStatistics, AskOutcomes, AskBlockUpdate, AskFuseUpdate, AskGrams, AskReport, *SUM_QUESTIONS
)  # fmt: skip
ANSWERS = (Offer, Statistics, Outcomes, Progress, Update, Grams, SiteReport, Refusal, *SUM_ANSWERS)
CARRY_TENSORS = frozenset({Statistics.kind, Outcomes.kind, Update.kind, Grams.kind, MaskedVectors.kind})
