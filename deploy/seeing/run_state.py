"""RunState: all that the diary has told of a run so far, as one frozen value.

Everything that shows a run draws from this alone: the terminal, the web page, Prometheus,
TensorBoard and MLflow.
"""

from datetime import datetime
from typing import Literal, final

from pydantic import Field

from deploy.seeing.events import ScoreTold
from lego_core.component import Component

Standing = Literal["here", "waited for", "absent", "declined", "left out"]


@final
class PhaseSpan(Component):
    """One phase of the run, with its beginning and, once it is over, its end."""

    phase: str
    began: datetime
    ended: datetime | None = None


@final
class RoundSpan(Component):
    """One round of training; its end moves on until the last of its blocks is aggregated."""

    phase: str
    round: int
    began: datetime
    ended: datetime | None = None


@final
class Absence(Component):
    """Once that a site took no part in something."""

    time: datetime
    phase: str
    round: int
    modality: str
    declined: bool
    reason: str


@final
class SiteState(Component):
    """One site.

    Args:
        standing: `here`: it answered when it was asked last. `waited for`: asked, and no answer yet.
            `absent`: the wait for it ended without an answer. `declined`: it said no. `left out`: it
            answered, and took no part all the same. Of the last two there is a sentence in `absences`.
        patients: Training patients by modality, rounded down to tens by the site.
        waiting_since: When the question went out that it has not answered.
        answers: How often it answered.
        epsilon: What its private training has cost so far; absent where nothing was charged.
        charges: How often it told of that.
        delta: Chance at which that may not hold.
    """

    site: str
    standing: Standing = "here"
    patients: dict[str, int] = Field(default_factory=dict)
    paired_patients: int = 0
    waiting_since: datetime | None = None
    last_answer: datetime | None = None
    answers: int = 0
    absences: tuple[Absence, ...] = ()
    epsilon: float | None = None
    delta: float | None = None
    charges: int = 0


@final
class RoundPoint(Component):
    """One aggregated round of a block; loss and score are of the weights that the round began with."""

    phase: str
    round: int
    time: datetime
    asked: int
    answered: int
    validation_loss: float | None
    validation_score: float | None


@final
class SitePoint(Component):
    """One answer of a site in a round: one point of its learning curve."""

    phase: str
    round: int
    time: datetime
    site: str
    train_loss: float | None
    validation_loss: float | None
    seconds: float


@final
class BlockState(Component):
    """The model of one modality, or the fused one (`fused`).

    Args:
        features: Number of agreed features; 0 for the fused model.
        rounds: Rounds at most.
        round: The round it is in, or was in last.
        best_round: The round whose weights did best so far, or were kept; 0 is the start.
        done: Whether its training has ended.
        curve: The aggregated rounds.
        points: The sites' answers.
    """

    modality: str
    phase: str = "blocks"
    features: int = 0
    rounds: int = 0
    round: int = 0
    best_round: int = 0
    done: bool = False
    curve: tuple[RoundPoint, ...] = ()
    points: tuple[SitePoint, ...] = ()


@final
class Answer(Component):
    """How long a site took to answer a question, as the coordinator saw it."""

    site: str
    phase: str
    seconds: float


@final
class Told(Component):
    """An event as a sentence."""

    number: int
    time: datetime
    event: str
    sentence: str
    serious: bool = False


@final
class Fault(Component):
    """A line of the diary that does not hold, or cannot be understood."""

    line: int
    sentence: str


@final
class RunState(Component):
    """A run, as far as its diary has told.

    Args:
        status: `not-begun` before the first line, `running`, or what the last line says: `complete`,
            `complete-with-absences`, `failed`.
        lines: How many lines were read.
        expected_sites: Sites that the plan waits for; 0 if it does not say.
        round_seconds: How long the plan waits for an answer, at most.
        limit_seconds: The same, of the wait that goes on now.
        waiting: Names of those who are waited for; of sites that have not said who they are, Flower's.
        asked_at: When the questions went out that are waited for.
        epsilon: The plan's budget of a site, where training is private.
        scores: The pooled scores of the finished models.
        answers: How long answers took.
        counts: How many events there were of each kind.
        told: The last events worth a sentence.
        tail: The last lines of the file, as they stand there.
        faults: What is wrong with the file.
    """

    status: str = "not-begun"
    reason: str = ""
    lines: int = 0
    plan: str = ""
    task: str = ""
    privacy: str = ""
    claim: str = ""
    modalities: tuple[str, ...] = ()
    epsilon: float | None = None
    block_rounds: int = 0
    fuse_rounds: int = 0
    expected_sites: int = 0
    round_seconds: float | None = None
    limit_seconds: float | None = None
    began: datetime | None = None
    last_event: datetime | None = None
    phase: str = ""
    phases: tuple[PhaseSpan, ...] = ()
    round: int = 0
    rounds: int = 0
    round_spans: tuple[RoundSpan, ...] = ()
    asked_at: datetime | None = None
    waiting: tuple[str, ...] = ()
    sites: dict[str, SiteState] = Field(default_factory=dict)
    blocks: dict[str, BlockState] = Field(default_factory=dict)
    merge_weights: dict[str, float | None] = Field(default_factory=dict)
    metric: str = ""
    best_block: str = ""
    scores: tuple[ScoreTold, ...] = ()
    withheld: int = 0
    recommendation: str = ""
    answers: tuple[Answer, ...] = ()
    counts: dict[str, int] = Field(default_factory=dict)
    told: tuple[Told, ...] = ()
    tail: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether the coordinator has written its last line."""
        return self.status not in ("not-begun", "running")
