"""Ask many sites, and go on with what could be read; who gave nothing usable is left out by name."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from lego_core.errors import LegoError, RunError
from lego_core.letters import Letter
from lego_core.run_report import LeftOut, Phase
from server.asked import Asked
from server.exchange import Exchange, Question

T = TypeVar("T")


def ask_each(
    exchange: Exchange,
    asked: Sequence[Asked],
    read: Callable[[Asked, Letter], T],
    *,
    wait_seconds: float,
    phase: Phase,
    round_number: int,
) -> list[tuple[Asked, T]]:
    """Ask all questions at once, wait, and read the answers in the order of the questions.

    Args:
        exchange: How to reach the sites.
        asked: The questions.
        read: Takes what is wanted out of an answer, or refuses it with an error of ours.
        wait_seconds: How long to wait.
        phase: For the diary.
        round_number: Likewise.

    Returns:
        The questions whose answers could be read, each with what was read.
    """
    questions = [
        Question(one.member.node_id, one.member.site, one.question.letter(one.tensors), one.about)
        for one in asked
    ]
    doing = {"phase": phase, "round": round_number}
    usable = []
    for one, answer in zip(
        asked, exchange.ask(questions, timeout_seconds=wait_seconds, doing=doing), strict=True
    ):
        try:
            if answer.letter is None:
                raise RunError(answer.reason)
            usable.append((one, read(one, answer.letter)))
        except LegoError as error:
            exchange.log.leave_out(
                LeftOut(
                    site=one.member.site, phase=phase, round=round_number, modality=one.about,
                    declined=answer.declined, reason=error.public, budget_spent=answer.budget_spent,
                )
            )  # fmt: skip
    return usable
