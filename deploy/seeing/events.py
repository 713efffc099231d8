"""Every event of `run.jsonl`, and what it tells: the one vocabulary of the coordinator's diary.

Whoever writes an event in `server/` describes it here; a test compares the two. An event that is not
described is no error: it is shown by its name, so that an older reader can follow a newer run.
"""

from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Literal, final, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field


def _finite(value: float | None) -> float | None:
    """A number that JSON can hold; a loss that went to infinity is shown as none."""
    return value if value is not None and isfinite(value) else None


Number = Annotated[float | None, AfterValidator(_finite)]
Names = tuple[str, ...]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC))]


class AbstractEvent(BaseModel):
    """One line of the diary. What this reader does not know of a line, it passes over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    number: int
    time: Moment


@final
class RunStarted(AbstractEvent):
    """The run begins: what of its plan a reader of the diary needs."""

    event: Literal["run-started"]
    plan: str
    privacy: str = ""
    claim: str = ""
    task: str = ""
    modalities: Names = ()
    epsilon: Number = None
    rounds: int = 0
    fuse_rounds: int = 0
    expected_sites: int = 0
    wait_seconds: Number = None
    round_seconds: Number = None


@final
class PhaseStarted(AbstractEvent):
    """A phase begins, and the one before has ended."""

    event: Literal["phase-started"]
    phase: str


@final
class Asked(AbstractEvent):
    """Questions go out to these sites, all at once; each is waited for until the limit."""

    event: Literal["asked"]
    phase: str
    round: int
    sites: Names
    limit_seconds: Number = None


@final
class Heard(AbstractEvent):
    """Answers or refusals of these sites came in, so many seconds after the questions went out.

    The key `for` names the sites from which an answer is still to come.
    """

    event: Literal["heard"]
    phase: str
    round: int
    sites: Names
    waiting: Names = Field(default=(), alias="for")
    seconds: Seconds


@final
class Waiting(AbstractEvent):
    """A sign of life, every five seconds of a wait: for whom, how long already, how long at most."""

    event: Literal["waiting"]
    phase: str
    round: int
    waiting: Names = Field(alias="for")
    seconds: Seconds
    limit_seconds: Number = None


@final
class OfferMade(AbstractEvent):
    """A site takes part: its training patients by modality, rounded down to tens by itself."""

    event: Literal["offer"]
    site: str
    modalities: dict[str, int]
    paired_patients: int = 0


@final
class SiteLeftOut(AbstractEvent):
    """A site takes no part in something, with the reason in public words."""

    event: Literal["left-out"]
    site: str
    phase: str
    round: int
    modality: str = ""
    declined: bool = False
    reason: str = ""
    budget_spent: bool = False


@final
class Agreed(AbstractEvent):
    """The sites of a modality agreed on its features."""

    event: Literal["agreed"]
    modality: str
    features: int
    sites: Names


@final
class NobodyJudges(AbstractEvent):
    """Too few sites have validation patients for this block; `sites` are those that have."""

    event: Literal["nobody-judges"]
    modality: str
    sites: Names


@final
class RoundStarted(AbstractEvent):
    """A round begins; `asked` are pairs of a site and what it trains."""

    event: Literal["round-started"]
    phase: str
    round: int
    rounds: int
    asked: tuple[tuple[str, str], ...] = ()


@final
class Answered(AbstractEvent):
    """An answer of a round was taken: one point of a site's learning curve.

    Under a secure sum the site reads "all sites together", and the point is of their sum.
    """

    event: Literal["answered"]
    phase: str
    round: int
    site: str
    modality: str
    train_loss: Number = None
    validation_loss: Number = None
    seconds: Seconds = 0.0


@final
class PrivacySpent(AbstractEvent):
    """What a site's private training has cost so far, over all runs, as the site says."""

    event: Literal["privacy-spent"]
    site: str
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    delta: Annotated[float, Field(ge=0, allow_inf_nan=False)]


@final
class SumOpened(AbstractEvent):
    """A secure sum over these sites was opened."""

    event: Literal["sum-opened"]
    phase: str
    round: int
    sum: str
    sites: Names


@final
class SumDiffersByOne(AbstractEvent):
    """Two sums of two rounds differ by one site."""

    event: Literal["sum-differs-by-one"]
    phase: str
    round: int
    sum: str
    site: str


@final
class ScoresPutAside(AbstractEvent):
    """A sum of losses and scores cannot be right, and was put aside."""

    event: Literal["scores-put-aside"]
    phase: str
    round: int
    modality: str
    reason: str = ""


@final
class Shortened(AbstractEvent):
    """So many sites' updates were longer than the plan allows, and were cut."""

    event: Literal["shortened"]
    phase: str
    round: int
    modality: str
    sites: int


@final
class BudgetSpent(AbstractEvent):
    """A block trains no more: these sites have no privacy budget left for it."""

    event: Literal["budget-spent"]
    phase: str
    round: int
    modality: str
    sites: Names


@final
class TakenBack(AbstractEvent):
    """A round did worse than the plan bears, and is undone."""

    event: Literal["taken-back"]
    phase: str
    round: int
    modality: str
    loss: Number = None
    best_loss: Number = None


@final
class RoundFinished(AbstractEvent):
    """A block's round is aggregated and on the disk.

    Loss and score are of the weights that the round began with, on the validation patients of all
    sites; the score is withheld where these are fewer than the plan's smallest count.
    """

    event: Literal["round-finished"]
    phase: str
    round: int
    modality: str
    asked: Names = ()
    answered: Names = ()
    validation_loss: Number = None
    validation_score: Number = None
    best_round: int = 0


@final
class BlockFinished(AbstractEvent):
    """A block's training has ended."""

    event: Literal["block-finished"]
    phase: str
    modality: str
    rounds: int
    kept_round: int


@final
class Merged(AbstractEvent):
    """The blocks are merged, with these weights."""

    event: Literal["merged"]
    modalities: Names
    weights: dict[str, Number] = Field(default_factory=dict)


class ScoreTold(BaseModel):
    """A pooled score of one model on one subset of modalities."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    method: str
    modalities: Names
    patients: str
    value: Annotated[float, Field(allow_inf_nan=False)]
    low: Annotated[float, Field(allow_inf_nan=False)]
    high: Annotated[float, Field(allow_inf_nan=False)]
    count: int


@final
class Evaluated(AbstractEvent):
    """The sites scored the models: the pooled scores that the report holds, none of too few patients."""

    event: Literal["evaluated"]
    sites: Names
    metric: str = ""
    best_block: str = ""
    scores: tuple[ScoreTold, ...] = ()
    withheld: int = 0


@final
class Recommended(AbstractEvent):
    """Which model to use."""

    event: Literal["recommended"]
    sentence: str
    afterwards: str = ""


@final
class Finished(AbstractEvent):
    """The coordinator's last line."""

    event: Literal["finished"]
    status: str
    reason: str = ""


AnyEvent = Annotated[
    RunStarted | PhaseStarted | Asked | Heard | Waiting | OfferMade | SiteLeftOut | Agreed | NobodyJudges
    | RoundStarted | Answered | PrivacySpent | SumOpened | SumDiffersByOne | ScoresPutAside | Shortened
    | BudgetSpent | TakenBack | RoundFinished | BlockFinished | Merged | Evaluated | Recommended | Finished,
    Field(discriminator="event"),
]  # fmt: skip
KINDS: dict[str, type[AbstractEvent]] = {
    get_args(kind.model_fields["event"].annotation)[0]: kind for kind in get_args(get_args(AnyEvent)[0])
}
