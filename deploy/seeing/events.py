"""Every event of `run.jsonl`, and what it tells: the one vocabulary of the coordinator's diary.

Whoever writes an event in `server/` describes it here; a test compares the two. An event that is not
described is no error: it is shown by its name, so that an older reader can follow a newer run.
"""

from typing import Annotated, get_args

from pydantic import Field

from deploy.seeing._event import AbstractEvent
from deploy.seeing._events_of_runs import (
    Agreed,
    BlockFinished,
    CheckpointDamaged,
    Evaluated,
    Finished,
    Merged,
    NobodyJudges,
    PhaseStarted,
    Recommended,
    Resumed,
    RoundFinished,
    RoundStarted,
    RunStarted,
    ScoresPutAside,
    ScoreTold,
    TakenBack,
)
from deploy.seeing._events_of_sites import (
    Answered,
    AnsweredLate,
    Asked,
    AskedAgain,
    BudgetSpent,
    Heard,
    OfferMade,
    OpeningAsked,
    PiecesLeft,
    PrivacySpent,
    Shortened,
    SiteLeftOut,
    SumDiffersByOne,
    SumOpened,
    Travelling,
    Waiting,
)

AnyEvent = Annotated[
    RunStarted | PhaseStarted | Asked | Heard | Waiting | AskedAgain | AnsweredLate | Travelling
    | PiecesLeft | OfferMade | SiteLeftOut | Agreed | NobodyJudges | RoundStarted | Answered | PrivacySpent
    | OpeningAsked | SumOpened | SumDiffersByOne | ScoresPutAside | Shortened | BudgetSpent | TakenBack
    | RoundFinished | BlockFinished | Merged | Evaluated | Recommended | CheckpointDamaged | Resumed
    | Finished,
    Field(discriminator="event"),
]  # fmt: skip
KINDS: dict[str, type[AbstractEvent]] = {
    get_args(kind.model_fields["event"].annotation)[0]: kind for kind in get_args(get_args(AnyEvent)[0])
}

__all__ = [
    "KINDS",
    "AbstractEvent",
    "Agreed",
    "Answered",
    "AnsweredLate",
    "AnyEvent",
    "Asked",
    "AskedAgain",
    "BlockFinished",
    "BudgetSpent",
    "CheckpointDamaged",
    "Evaluated",
    "Finished",
    "Heard",
    "Merged",
    "NobodyJudges",
    "OfferMade",
    "OpeningAsked",
    "PhaseStarted",
    "PiecesLeft",
    "PrivacySpent",
    "Recommended",
    "Resumed",
    "RoundFinished",
    "RoundStarted",
    "RunStarted",
    "ScoreTold",
    "ScoresPutAside",
    "Shortened",
    "SiteLeftOut",
    "SumDiffersByOne",
    "SumOpened",
    "TakenBack",
    "Travelling",
    "Waiting",
]
