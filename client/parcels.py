"""A site's part in the travel of large tensors: pieces in, pieces out."""

from flwr.app import Context, Message

from client.records import read_letter
from client.spool import Spool
from lego_core.errors import ProtocolError
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
from lego_core.parcels import sha256_of


def held(message: Message, context: Context) -> Letter:
    """Say which tensors of a coming question are not here yet."""
    question = AskHeld.read(read_letter(message))
    lacking = Spool.of(context).lacking(question.about, question.hashes)
    return Held(lacking=tuple(lacking)).letter()


def take(message: Message, context: Context) -> Letter:
    """Put a piece of a coming question down.

    Raises:
        ProtocolError: If there is none in the letter.
    """
    letter = read_letter(message)
    question = TakePiece.read(letter)
    if set(letter.tensors) != {"bytes"}:
        raise ProtocolError(f"Piece {question.number} came without its bytes. Send it again.")
    Spool.of(context).take(question, letter.tensors["bytes"])
    return PieceTaken(number=question.number).letter()


def give(message: Message, context: Context) -> Letter:
    """Give a piece of an answer that has left the site's door."""
    question = AskPiece.read(read_letter(message))
    content = Spool.of(context).give(question)
    return Piece(offset=question.offset, sha256=sha256_of(content)).letter({"bytes": content})


def drop(message: Message, context: Context) -> Letter:
    """Forget what is of no more use."""
    Spool.of(context).drop(DropParcels.read(read_letter(message)).parcel)
    return ParcelsDropped().letter()
