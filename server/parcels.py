"""How a question with large tensors is asked, and a large answer fetched: in pieces, few at a time.

What the site holds already is not sent again; what arrives goes to an unnamed file, mapped into memory, which
is gone as soon as nobody reads it any more.
"""

import errno
import mmap
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from lego_core import parcels
from lego_core.errors import ProtocolError, RunError
from lego_core.letters import Letter
from lego_core.parcel_letters import (
    AskHeld,
    AskPiece,
    DropParcels,
    Held,
    ParcelsDropped,
    Piece,
    PieceTaken,
    TakePiece,
)
from lego_core.parcels import Parcel, Segment, cut, fill, nbytes, sha256_of
from server.conversation import Conversation

AT_ONCE = 2  # pieces on their way to or from a site, so that neither end waits for the other
LEAST_ROOM = 256 * 2**20  # bytes that an answer may have, however small the question was

Say = Callable[[str, int, int], None]


@final
@dataclass(frozen=True)
class Pieces:
    """How large tensors travel.

    Args:
        largest: Bytes of tensors in one message; what is smaller travels as it is.
        folder: Where answers are put together; the system's own place for such files if not given.
    """

    largest: int = field(default_factory=lambda: parcels.LARGEST_MESSAGE)
    folder: Path | None = None

    def suits(self, letter: Letter) -> bool:
        """Whether a letter has to be cut."""
        return nbytes(letter.tensors) > self.largest

    def talk(self, letter: Letter, *, about: str, say: Say) -> Conversation:
        """Ask a question, whichever of question and answer is large.

        Args:
            letter: The question.
            about: Its name among the questions to a site: tensors of an earlier one of this name go.
            say: Is told how many bytes of how many have travelled, and in which direction.

        Raises:
            ProtocolError: If the site breaks the order of things, or sends other bytes than it announced.
            RunError: If the answer does not fit on the coordinator's disk.
        """
        parcel = None
        if self.suits(letter):
            parcel = Parcel.of(letter.tensors)
            yield from self._hand_over(letter, parcel, about=about, say=say)
        answer = yield [replace(letter, tensors={}, parcel=parcel) if parcel else letter]
        if answer.parcel is None:
            return answer
        room = max(nbytes(letter.tensors), LEAST_ROOM)
        tensors = yield from self._fetch(answer.parcel, room=room, say=say)
        ParcelsDropped.read((yield [DropParcels(parcel=answer.parcel.sha256).letter()]))
        return replace(answer, tensors=tensors, parcel=None)

    def _hand_over(
        self, letter: Letter, parcel: Parcel, *, about: str, say: Say
    ) -> Generator[Sequence[Letter], Letter, None]:
        """Send what the site lacks, piece by piece."""
        by_hash = {one.sha256: letter.tensors[one.name] for one in parcel.tensors}
        reply = yield [AskHeld(about=about, hashes=tuple(by_hash)).letter()]
        lacking = by_hash.keys() & set(Held.read(reply).lacking)
        pieces = list(cut(parcel, lacking, largest=self.largest))
        total, sent = sum(map(_length, pieces)), 0
        waiting = iter(enumerate(pieces))
        on_their_way = dict(_first(waiting))
        following = [_piece_letter(number, piece, by_hash) for number, piece in on_their_way.items()]
        while on_their_way:
            reply = yield following
            number = PieceTaken.read(reply).number
            if number not in on_their_way:
                raise ProtocolError(
                    f"The site says that it took piece {number}, and of {len(pieces)} pieces "
                    f"{sorted(on_their_way)} are on their way. Nothing more was sent to it in this round."
                )
            sent += _length(on_their_way.pop(number))
            say("to", sent, total)
            following = []
            for number, piece in waiting:
                on_their_way[number] = piece
                following = [_piece_letter(number, piece, by_hash)]
                break

    def _fetch(
        self, parcel: Parcel, *, room: int, say: Say
    ) -> Generator[Sequence[Letter], Letter, dict[str, Tensor]]:
        """Fetch what the site announced, and give its tensors."""
        total = parcel.nbytes
        if total > room:
            raise ProtocolError(
                f"The site announces an answer of {total} bytes, and {room} may come to this question. "
                "Nothing was fetched; run the same code at both ends."
            )
        with _disk_of_the_coordinator(), self._unnamed(total) as content:
            waiting = iter(
                AskPiece(parcel=parcel.sha256, offset=start, length=min(self.largest, total - start))
                for start in range(0, total, self.largest)
            )
            on_their_way = {one.offset: one for _, one in zip(range(AT_ONCE), waiting, strict=False)}
            following, arrived = [one.letter() for one in on_their_way.values()], 0
            while on_their_way:
                reply = yield following
                asked = on_their_way.pop(Piece.read(reply).offset, None)
                place = _place(reply, asked)
                content[place] = reply.tensors["bytes"]
                arrived += asked.length if asked else 0
                say("from", arrived, total)
                following = []
                for one in waiting:
                    on_their_way[one.offset] = one
                    following = [one.letter()]
                    break
            return parcel.unpack(content)

    @contextmanager
    def _unnamed(self, size: int) -> Iterator[Tensor]:
        """Bytes in a file without a name."""
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.folder) as file:
            if not size:
                yield torch.empty(0, dtype=torch.uint8)
                return
            os.posix_fallocate(file.fileno(), 0, size)
            yield torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=torch.uint8)


def _piece_letter(number: int, piece: Sequence[Segment], by_hash: dict[str, Tensor]) -> Letter:
    content = fill(piece, by_hash)
    digest = sha256_of(content)
    return TakePiece(number=number, sha256=digest, segments=tuple(piece)).letter({"bytes": content})


def _place(reply: Letter, asked: AskPiece | None) -> slice:
    """Where a piece belongs.

    Raises:
        ProtocolError: If nobody asked for it, or its bytes are not those that the site says.
    """
    piece = Piece.read(reply)
    if asked is None:
        raise ProtocolError(
            f"The site sent a piece from byte {piece.offset} that was not asked for, or sent it twice. The "
            "answer was put aside."
        )
    content = reply.tensors.get("bytes", torch.empty(0, dtype=torch.uint8))
    if set(reply.tensors) != {"bytes"} or content.dtype != torch.uint8 or content.shape != (asked.length,):
        raise ProtocolError(
            f"The site sent a piece from byte {piece.offset} that is not made of the {asked.length} bytes "
            "that were asked for. The answer was put aside."
        )
    if sha256_of(content) != piece.sha256:
        raise ProtocolError(
            f"The piece from byte {piece.offset} arrived with other bytes than the site sent. The answer "
            "was put aside; look at the link."
        )
    return slice(asked.offset, asked.offset + asked.length)


def _first(waiting: Iterator[tuple[int, Sequence[Segment]]]) -> list[tuple[int, Sequence[Segment]]]:
    return [one for _, one in zip(range(AT_ONCE), waiting, strict=False)]


def _length(piece: Sequence[Segment]) -> int:
    return sum(one.length for one in piece)


@contextmanager
def _disk_of_the_coordinator() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise RunError(
            f"The coordinator's disk {'is full' if full else 'cannot be written'} where large answers are "
            "put together. Make room there; the site is asked again in the next round.",
            local=repr(error),
        ) from error
