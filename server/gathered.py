"""What the sites' training came to in one round, however it travelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final

from lego_core.protocol import Progress
from lego_core.update import BlockUpdate
from server.learner import Learner


@final
@dataclass(frozen=True, eq=False)
class Gathered:
    """One round of one learner.

    Args:
        sites: Whose updates are in it.
        updates: For every part of the model, those of the sites, or their sum as one; a part that is not
            there stays as it is.
        progress: How the received weights did, site by site or summed as if of one.
        closed: Why there is no sum, where updates are summed unseen and the sum stayed closed.
    """

    sites: tuple[str, ...] = ()
    updates: Mapping[str, Sequence[BlockUpdate]] = field(default_factory=dict)
    progress: Sequence[Progress] = ()
    closed: str = ""


class Collector(Protocol):
    """Who asks the sites to train, and reads what they answer."""

    def train(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """Have the members of every learner train it, and give what came of it, by learner."""
        ...

    def score(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """Have them score the weights as they are; nothing is trained."""
        ...


@final
@dataclass(frozen=True)
class EachItsWay:
    """Most learners are summed unseen; those of too few sites travel one by one, with noise of their own.

    Args:
        summed: The collector of the first.
        in_the_open: That of the others; what nobody may see of few sites, such as losses, is not asked.
        alone: Names of the others.
    """

    summed: Collector
    in_the_open: Collector
    alone: frozenset[str]

    def train(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """As `Collector.train`."""
        many, few = self._parted(learners)
        gathered = self.summed.train(many, number=number) if many else {}
        return gathered | (self.in_the_open.train(few, number=number) if few else {})

    def score(self, learners: Sequence[Learner], *, number: int) -> dict[str, Gathered]:
        """As `Collector.score`; nobody judges what few sites train."""
        many, few = self._parted(learners)
        scored = self.summed.score(many, number=number) if many else {}
        return scored | {learner.name: Gathered() for learner in few}

    def _parted(self, learners: Sequence[Learner]) -> tuple[list[Learner], list[Learner]]:
        few = [learner for learner in learners if learner.name in self.alone]
        return [learner for learner in learners if learner not in few], few
