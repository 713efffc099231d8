"""How the sites' numbers reach the coordinator: as they are, or as sums (see `client/way.py`)."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, final

from server.asked import Office
from server.exchange import Exchange
from server.gathered import Collector, EachItsWay
from server.open_sums import OpenOffice
from server.open_updates import OpenUpdates
from server.scoring import Scored, Scoring
from server.summed_updates import SummedUpdates
from server.sums import SumOffice
from server.training_questions import TrainingQuestions


class Way(Protocol):
    """One of the two."""

    @property
    def office(self) -> Office:
        """Who adds numbers up."""
        ...

    @property
    def roster(self) -> Collection[str] | None:
        """Names of the sites that may take part; None for any."""
        ...

    @property
    def roster_sha256(self) -> str | None:
        """Hash of the roster that names them."""
        ...

    def collector(self, questions: TrainingQuestions) -> Collector:
        """Who gathers updates."""
        ...

    def score(self, scoring: Scoring) -> Scored:
        """Have the models scored."""
        ...


@final
@dataclass(frozen=True)
class InTheOpen:
    """Numbers travel as they are."""

    exchange: Exchange
    office: OpenOffice
    roster: None = None
    roster_sha256: None = None

    def collector(self, questions: TrainingQuestions) -> Collector:
        """As `Way.collector`: every site's update is read by itself."""
        return OpenUpdates(questions, self.exchange)

    def score(self, scoring: Scoring) -> Scored:
        """As `Way.score`: every site's report is."""
        return scoring.in_the_open(self.exchange)


@final
@dataclass(frozen=True)
class Summed:
    """Numbers travel under masks, but for the noised updates of modalities that too few sites train."""

    office: SumOffice

    @property
    def roster(self) -> Collection[str]:
        """As `Way.roster`."""
        return self.office.keys

    @property
    def roster_sha256(self) -> str:
        """As `Way.roster_sha256`."""
        return self.office.roster_sha256

    def collector(self, questions: TrainingQuestions) -> Collector:
        """As `Way.collector`."""
        return EachItsWay(
            SummedUpdates(questions, self.office),
            OpenUpdates(questions, self.office.exchange),
            alone=frozenset(questions.agreement.normalised_at_sites),
        )

    def score(self, scoring: Scoring) -> Scored:
        """As `Way.score`."""
        return scoring.unseen(self.office)
