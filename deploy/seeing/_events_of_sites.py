"""Events of the diary that tell of sites: who is asked, who answers, who takes no part."""

from typing import Annotated, Literal, final

from pydantic import Field

from deploy.seeing._event import AbstractEvent, Names, Number, Seconds


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
class AskedAgain(AbstractEvent):
    """A site that was lost over a question is asked once more; Flower's reason in words."""

    event: Literal["asked-again"]
    phase: str
    round: int
    site: str
    reason: str


@final
class AnsweredLate(AbstractEvent):
    """The answer to a question that nobody waits for any more; it is dropped, and the site is free again."""

    event: Literal["answered-late"]
    site: str


@final
class Travelling(AbstractEvent):
    """So much of a large question or answer has travelled, in pieces."""

    event: Literal["travelling"]
    phase: str
    round: int = 0
    site: str
    direction: str
    mebibytes: int
    of_mebibytes: int


@final
class PiecesLeft(AbstractEvent):
    """A site could not be told to delete the pieces on its disk; it does so before the next run."""

    event: Literal["pieces-left"]
    site: str
    reason: str


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
class BudgetSpent(AbstractEvent):
    """A block trains no more: these sites have no privacy budget left for it."""

    event: Literal["budget-spent"]
    phase: str
    round: int
    modality: str
    sites: Names


@final
class Shortened(AbstractEvent):
    """So many sites' updates were longer than the plan allows, and were cut."""

    event: Literal["shortened"]
    phase: str
    round: int
    modality: str
    sites: int


@final
class OpeningAsked(AbstractEvent):
    """These sites are asked to open a secure sum."""

    event: Literal["opening-asked"]
    phase: str
    round: int
    sum: str
    sites: Names
