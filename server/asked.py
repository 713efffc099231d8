"""What the server asks so as to add it up over sites, and what comes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final

from torch import Tensor

from lego_core.letters import Letter
from lego_core.protocol import AbstractSummable
from lego_core.run_report import Phase
from lego_core.sum_forms import SumForm, SummedNumbers
from server.participants import Participant


def _unread(_letter: Letter) -> dict[str, Tensor]:
    return {}


@final
@dataclass(frozen=True, eq=False)
class Asked:
    """One question to one site, whose answer goes into sums.

    Args:
        member: The site.
        question: What it is asked; a secure sum adds its invitations.
        groups: The sums that its answer goes into, by name.
        tensors: The weights that go with it.
        about: The modality, for the diary.
        read: Where numbers travel as they are: take them out of the answer, or refuse it.
    """

    member: Participant
    question: AbstractSummable
    groups: tuple[str, ...]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    about: str = ""
    read: Callable[[Letter], Mapping[str, Tensor]] = _unread


@final
@dataclass(frozen=True, eq=False)
class Opened:
    """A sum.

    Args:
        numbers: What it holds.
        sites: Names of the sites in it.
        sha256: Hash of its words, where it was summed unseen.
    """

    numbers: SummedNumbers
    sites: tuple[str, ...]
    sha256: str = ""


class Office(Protocol):
    """Who adds numbers up: unseen (`SumOffice`), or in the open (`OpenOffice`)."""

    def add_up(
        self, forms: Mapping[str, SumForm], asked: Sequence[Asked], *, phase: Phase, round_number: int = 0
    ) -> tuple[dict[str, Opened], dict[str, str]]:
        """Ask sites for numbers, and give what they come to.

        Args:
            forms: What is summed, by the name of the sum; of two sums of one form, each has sites of its own.
            asked: All questions, any number per site.
            phase: For the diary.
            round_number: Likewise.

        Returns:
            The sums, and why there is none of the others, by name.
        """
        ...
