"""Events of the diary that tell of the run: its phases, its rounds, its models, its end."""

from typing import Annotated, Literal, final

from pydantic import BaseModel, ConfigDict, Field

from deploy.seeing._event import AbstractEvent, Names, Number


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
class ScoresPutAside(AbstractEvent):
    """A sum of losses and scores cannot be right, and was put aside."""

    event: Literal["scores-put-aside"]
    phase: str
    round: int
    modality: str
    reason: str = ""


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


@final
class CheckpointDamaged(AbstractEvent):
    """A checkpoint does not hold; an earlier one is taken."""

    event: Literal["checkpoint-damaged"]
    checkpoint: str
    reason: str = ""


@final
class Resumed(AbstractEvent):
    """The run broke off and goes on from a checkpoint; so many lines before this one are done again."""

    event: Literal["resumed"]
    checkpoint: str
    lines_done_again: int = 0
