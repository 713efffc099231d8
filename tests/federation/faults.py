"""Ways to spoil what a site answers, and when to."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from flwr.app import Message
from torch import Tensor

from client.records import read_letter, reply_with
from lego_core.letters import AbstractMessage, Letter
from lego_core.protocol import AskBlockUpdate, Progress, Update
from simulations.in_process import Fault

Answer = Callable[[], Message]
Spoil = Callable[[Message, Answer], Message | None]


def raising(message: Message, answer: Answer) -> Message:
    """The site breaks."""
    raise ValueError("the process of the site broke")


def silent(message: Message, answer: Answer) -> None:
    """The site never answers."""


def with_letter(change: Callable[[Letter], Letter]) -> Spoil:
    """The site sends another letter."""

    def spoil(message: Message, answer: Answer) -> Message:
        return reply_with(change(read_letter(answer())), message)

    return spoil


def with_tensors(change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> Spoil:
    """The site sends its letter with other tensors."""
    return with_letter(lambda letter: replace(letter, tensors=change(dict(letter.tensors))))


def with_progress(**changes: object) -> Spoil:
    """The site says something else of its training, or of its validation patients."""

    def spoil(letter: Letter) -> Letter:
        if letter.kind == Progress.kind:
            return Progress.read(letter).model_copy(update=changes).letter()
        update = Update.read(letter)
        progress = update.progress.model_copy(update=changes)
        return update.model_copy(update={"progress": progress}).letter(letter.tensors)

    return with_letter(spoil)


def at_sites(spoils: Mapping[type[AbstractMessage], Mapping[int, Spoil]]) -> Fault:
    """Every site spoils its answer to a kind of question in a way of its own, if it has one."""
    by_kind = {kind.kind: ways for kind, ways in spoils.items()}

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        spoil = by_kind.get(message.metadata.message_type, {}).get(site)
        return spoil(message, answer) if spoil else answer()

    return fault


def scoring(scores: Mapping[str, float]) -> Fault:
    """Every site says that the blocks do on its validation patients as it is told here."""

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if message.metadata.message_type != AskBlockUpdate.kind:
            return answer()
        score = scores[AskBlockUpdate.read(read_letter(message)).modality]
        return with_progress(validation_score=score, validation_pairs=10.0)(message, answer)

    return fault


def worse_every_round(site: int, message: Message, answer: Answer) -> Message | None:
    """Every site says that blocks do worse on its validation patients, the longer they are trained."""
    if message.metadata.message_type != AskBlockUpdate.kind:
        return answer()
    number = AskBlockUpdate.read(read_letter(message)).round
    return with_progress(validation_loss=10.0 * number, validation_patients=10)(message, answer)
