"""What a site gives while a run trains: sums before it, updates, and how they went."""

from collections.abc import Mapping
from math import isfinite
from typing import ClassVar, final

import torch
from pydantic import Field, ValidationError
from torch import Tensor

from lego_core.component import explain
from lego_core.errors import ProtocolError
from lego_core.letters import AbstractMessage
from lego_core.sum_letters import Spent

MOST_PATIENTS = 1e9  # a site that claims more is wrong


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
        told = (
            train_patients if self.train_losses else 0
        )  # noisy training tells no loss, and none is not zero
        return _as_numbers({"train_loss": last * told, "train_patients": told, "shortened": shortened})

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
