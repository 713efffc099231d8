"""What the server asks of the sites."""

import hashlib
import json
from typing import ClassVar, final

from pydantic import Field

from lego_core.component import Component
from lego_core.letters import AbstractMessage
from lego_core.records import ModalitySchema
from lego_core.sum_letters import Invitation
from lego_core.tasks import Task


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
