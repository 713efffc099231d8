"""What crosses the wire: the questions of the server and the answers of a site.

Everything travels as a letter: a kind, a plain JSON body, and named tensors. No pickle, no
Flower types, and nothing that is not in this file. Each answer says what it reveals and to
whom; the gate of a site lets no other letter out, and no tensor that was not declared.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar, Literal, TypeVar, final

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from lego_core.component import Component, explain
from lego_core.encoders import Encoder
from lego_core.errors import ProtocolError
from lego_core.records import ModalitySchema
from lego_core.tasks import Task
from lego_core.trunk import LatentContract


@dataclass(frozen=True, slots=True, eq=False)
class Letter:
    """One message in the form in which it travels."""

    kind: str
    body: str
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


MOST_PATIENTS = 1e9  # a site that claims more is wrong
Method = Literal["block", "ensemble", "merge", "fuse"]

AnyMessage = TypeVar("AnyMessage", bound="AbstractMessage")


class AbstractMessage(Component):
    """A message's plain part; its tensors stand beside it in the letter."""

    kind: ClassVar[str]

    def letter(self, tensors: Mapping[str, Tensor] | None = None) -> Letter:
        """Write the message down."""
        return Letter(self.kind, json.dumps(self.to_plain(), sort_keys=True), tensors or {})

    @classmethod
    def read(cls: type[AnyMessage], letter: Letter) -> AnyMessage:
        """Read a message of this kind.

        Raises:
            ProtocolError: If the letter is of another kind or does not have this form.
        """
        if letter.kind != cls.kind:
            raise ProtocolError(
                f"A letter of kind '{letter.kind}' came where '{cls.kind}' was expected. Server and site "
                "run different versions of this code; install the same one."
            )
        try:
            return cls.model_validate_json(letter.body)
        except ValidationError as error:
            raise explain(error, where=f"Letter '{cls.kind}'", kind=ProtocolError) from error


# ---- what the server asks ------------------------------------------------------------------


@final
class AskOffer(AbstractMessage):
    """Ask a site what it holds."""

    kind: ClassVar[str] = "query.offer"


@final
class Agreement(Component):
    """What the sites of a run agreed on before any training.

    Args:
        schemas: Layout and features of every modality, the same at all its sites.
        task: The task with its time bins and the base rates of the group, as `base_logits`.
            Every site learns them: the share of events per time bin, of classes, of labels.
    """

    schemas: dict[str, ModalitySchema]
    task: Task


@final
class AskStatistics(AbstractMessage):
    """Ask for the sums behind normalisation, time bins and base rates, over training patients only.

    Args:
        modality: Whose features to sum up.
        schema_of_group: Features and their order.
        with_outcomes: Count the outcomes of all the site's training patients too; asked of
            a site once, so that nobody counts twice.
    """

    kind: ClassVar[str] = "query.statistics"
    modality: str
    schema_of_group: ModalitySchema
    with_outcomes: bool


@final
class AskBlockUpdate(AbstractMessage):
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
class AskFuseUpdate(AbstractMessage):
    """Ask a site with paired patients to train the fused model. Tensors: its state.

    Args:
        modalities: The blocks, in order; those that the site holds.
        round: Number of the round, from 1.
        score_only: As for a block.
    """

    kind: ClassVar[str] = "train.fuse"
    agreement: Agreement
    modalities: tuple[str, ...]
    round: int = Field(ge=1)
    score_only: bool = False


@final
class AskGrams(AbstractMessage):
    """Ask what the linear layers of a trained block are fed. Tensors: the block's whole state.

    Args:
        modality: Which block.
    """

    kind: ClassVar[str] = "query.grams"
    agreement: Agreement
    modality: str


@final
class AskReport(AbstractMessage):
    """Ask a site to evaluate. Tensors: the blocks it can use and, if there is one, the fused model.

    What the merge works with is among them: the weights of modalities and, if heads merge by
    Gram matrices, their mean over all sites for the head's layers. Over one site, it is this
    site's own.

    Args:
        modalities: The blocks that are sent: those that the site holds.
        with_fused: Whether the fused model is among the tensors.
    """

    kind: ClassVar[str] = "evaluate.model"
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
        encoder: How the site's plan has it encoded.
    """

    schema_here: ModalitySchema
    encoder: Encoder
    patients: int = Field(ge=0)
    trains: bool


@final
class Offer(AbstractMessage):
    """What a site holds.

    Reveals to the server: the site's name, its modalities and their feature names, and
    numbers of patients rounded down to tens. Nothing of any patient.

    Args:
        site: Name of the site.
        plan: Name of the plan the site has read.
        latent: The latent contract in that plan; blocks merge only under one contract.
        modalities: What it holds.
        paired_patients: Training patients with more than one modality, rounded down to tens.
        paired: Whether there is any such patient.
    """

    kind: ClassVar[str] = "offer"
    site: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    plan: str
    latent: LatentContract
    modalities: dict[str, ModalityOffer]
    paired_patients: int = Field(ge=0)
    paired: bool


@final
class Statistics(AbstractMessage):
    """Sums over a site's training patients. Tensors: of `FeatureStatistics`, `OutcomeStatistics`.

    Reveals to the server: per feature the number of measured values, their sum and sum of
    squares. With outcomes: how many patients there are; how many are in each class, or have
    each label, or the event; for survival, two histograms of times, of the events and of those
    who left without one. Their bins are 1 % wide: where few patients share a bin, that is nearly
    each patient's follow-up time. Nothing is sent if fewer than two have the modality. To the
    other sites: what all sites' sums come to, as means, spreads, time bins and base rates; over
    one site, they are this site's own.
    """

    kind: ClassVar[str] = "statistics"
    modality: str


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


@final
class Update(AbstractMessage):
    """A protected update. Tensors: those that the privacy plan declares, and nothing else.

    Reveals to the server: what the privacy plan says (see its `claim`), the number of training
    patients, and all that `Progress` reveals.

    Args:
        weight: Training patients behind it; 0 where the weights were only scored.
        progress: Losses, for the learning curves.
    """

    kind: ClassVar[str] = "update"
    weight: float = Field(ge=0, le=MOST_PATIENTS)
    progress: Progress


@final
class Grams(AbstractMessage):
    """Sums over a site's training patients of what a block's linear layers are fed. Tensors: of
    `GramStatistics`.

    Reveals to the server: how many training patients have the modality, and per layer of
    trunk and head the sum of x x^T over its inputs x: their mean square and how they hang
    together, over no fewer patients than the plan's smallest count, and never under two. Asked
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
        count: Number of patients; never fewer than the plan's smallest count.
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
    patients than the plan's smallest count are withheld. Resamples follow from the plan's
    seed: of some twenty patients or fewer, they tell which pairs were ranked rightly.

    Args:
        scores: One row per model, subset of modalities and set of test patients.
        charts: Chart points of the main models.
        withheld: How many rows were withheld because too few patients stood behind them.
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
        public: What went wrong, where, and what to do.
    """

    kind: ClassVar[str] = "refusal"
    declined: bool
    public: str


QUESTIONS = (AskOffer, AskStatistics, AskBlockUpdate, AskFuseUpdate, AskGrams, AskReport)
ANSWERS = (Offer, Statistics, Progress, Update, Grams, SiteReport, Refusal)
CARRY_TENSORS = frozenset({Statistics.kind, Update.kind, Grams.kind})


def check_tensors(
    letter: Letter, declared: Mapping[str, tuple[torch.Size, torch.dtype]], *, sender: str
) -> None:
    """Refuse tensors that were not declared, are missing, or are of another form or not finite.

    Raises:
        ProtocolError: Naming the sender and the first tensor that does not fit.
    """
    missing, extra = set(declared) - set(letter.tensors), set(letter.tensors) - set(declared)
    if missing or extra:
        raise ProtocolError(
            f"{sender} sent a letter '{letter.kind}' with tensors {sorted(letter.tensors)} where "
            f"{sorted(declared)} were declared. The letter was put aside; run the same code at both ends."
        )
    for name, (shape, dtype) in declared.items():
        tensor = letter.tensors[name]
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ProtocolError(
                f"{sender} sent tensor '{name}' of shape {tuple(tensor.shape)} and type {tensor.dtype} "
                f"where {tuple(shape)} and {dtype} were declared. The letter was put aside."
            )
        if not torch.isfinite(tensor).all():
            count = int((~torch.isfinite(tensor)).sum())
            raise ProtocolError(
                f"{sender} sent tensor '{name}' with {count} of {tensor.numel()} values not finite. The "
                "letter was put aside; lower the learning rate, or look for broken values in the data."
            )
