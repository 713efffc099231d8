"""How a site's numbers travel: as they are, or hidden in a sum; the site's own plan says which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

from flwr.app import Context
from torch import Tensor

from client.site import Site
from client.sums import Addend, SumSeat
from lego_core.errors import SiteRefusal
from lego_core.letters import Letter
from lego_core.protocol import AbstractSummable
from lego_core.run_sums import travels_alone
from lego_core.sum_forms import SumForm
from lego_core.sum_letters import Spent


class Way(Protocol):
    """One of the two."""

    def check(self, forms: Sequence[SumForm], state: Mapping[str, Tensor]) -> None:
        """Make sure that the answer may travel, before it is computed.

        Args:
            forms: What the answer adds to each sum it may go into.
            state: The weights that came with the question.

        Raises:
            LegoError: If it may not.
        """
        ...

    @property
    def is_unseen(self) -> bool:
        """Whether the server sees a sum and nothing else."""
        ...

    def wants(self, forms: Sequence[SumForm]) -> bool:
        """Whether any of these numbers would go anywhere, so that they are worth computing."""
        ...

    def send(
        self,
        letter: Letter,
        addends: Sequence[Addend],
        *,
        spent: Spent | None = None,
    ) -> Letter:
        """Give what leaves the site.

        Args:
            letter: The answer as it would travel in the open.
            addends: The same numbers, as they go into sums.
            spent: What its private training has cost.
        """
        ...


@final
class InTheOpen:
    """Numbers travel as they are."""

    is_unseen = False

    def check(self, forms: Sequence[SumForm], state: Mapping[str, Tensor]) -> None:
        """Nothing to look at: the plan allows it."""

    def wants(self, forms: Sequence[SumForm]) -> bool:  # noqa: ARG002
        """All of them."""
        return True

    def send(
        self,
        letter: Letter,
        addends: Sequence[Addend],  # noqa: ARG002 - the letter holds the same
        *,
        spent: Spent | None = None,  # noqa: ARG002
    ) -> Letter:
        """The letter itself."""
        return letter


@final
@dataclass(frozen=True)
class Summed:
    """Numbers travel under masks."""

    seat: SumSeat
    question: AbstractSummable
    is_unseen = True

    def check(self, forms: Sequence[SumForm], state: Mapping[str, Tensor]) -> None:
        """As `Way.check`: every session must be about just this question and these weights."""
        self.seat.check(self.question, forms, state)

    def wants(self, forms: Sequence[SumForm]) -> bool:
        """As `Way.wants`: those of sums that the question invites to."""
        return any(form.group in self.question.sums for form in forms)

    def send(
        self,
        letter: Letter,  # noqa: ARG002 - it stays here
        addends: Sequence[Addend],
        *,
        spent: Spent | None = None,
    ) -> Letter:
        """Masked vectors."""
        return self.seat.mask(self.question, addends, spent=spent)


def way_of(site: Site, context: Context, question: AbstractSummable) -> Way:
    """The way that the site's plan prescribes.

    Raises:
        SiteRefusal: If the server asks for the other one.
    """
    unseen = site.plan.privacy.sum_terms is not None
    if unseen and question.sums:
        return Summed(SumSeat(site, context), question)
    if not question.sums and (not unseen or travels_alone(question, site.plan.privacy)):
        return InTheOpen()
    asked, planned = ("numbers in the open", "secure sums") if unseen else ("a secure sum", "none")
    raise SiteRefusal(
        f"This site declines: it was asked for {asked}, and its plan '{site.plan.name}' with privacy "
        f"'{site.plan.privacy.kind}' prescribes {planned}. Nothing was sent. Give server and site the bundle "
        "of the same plan."
    )
