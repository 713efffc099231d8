"""Sums over sites whose numbers travel as they are: every letter is read, checked and added."""

from collections.abc import Mapping, Sequence
from typing import final

from torch import Tensor

from lego_core.run_report import Phase
from lego_core.sum_forms import SumForm, SummedNumbers
from server.ask_each import ask_each
from server.asked import Asked, Opened
from server.exchange import Exchange


@final
class OpenOffice:
    """The counterpart of `SumOffice` where the plan hides nothing.

    Args:
        exchange: How to reach the sites.
        wait_seconds: How long to wait for their answers.
    """

    def __init__(self, exchange: Exchange, *, wait_seconds: float) -> None:
        self._exchange = exchange
        self._wait_seconds = wait_seconds

    def add_up(
        self, forms: Mapping[str, SumForm], asked: Sequence[Asked], *, phase: Phase, round_number: int = 0
    ) -> tuple[dict[str, Opened], dict[str, str]]:
        """As `SumOffice.add_up`; every question goes into one sum, and no sum stays closed."""
        read = ask_each(
            self._exchange,
            asked,
            lambda one, letter: one.read(letter),
            wait_seconds=self._wait_seconds,
            phase=phase,
            round_number=round_number,
        )
        added: dict[str, list[tuple[str, Mapping[str, Tensor]]]] = {}
        for one, numbers in read:
            (group,) = one.groups
            added.setdefault(group, []).append((one.member.site, numbers))
        return {group: _sum(rows) for group, rows in added.items() if group in forms}, {}


def _sum(rows: Sequence[tuple[str, Mapping[str, Tensor]]]) -> Opened:
    first = rows[0][1]
    numbers = {
        name: sum((row[name].double() for _, row in rows[1:]), start=first[name].double()) for name in first
    }
    return Opened(SummedNumbers(None, numbers), tuple(site for site, _ in rows))
