"""The letters by which large tensors travel in pieces.

Nothing leaves a site by them that the site's door has not let out: a site gives pieces of an answer
that has passed its contract and stands in its audit log, and of nothing else.
"""

from typing import ClassVar, final

from pydantic import Field

from lego_core.letters import AbstractMessage
from lego_core.parcels import Segment

LARGEST_PIECE = 64 * 2**20  # bytes; what either end takes in its memory, whatever a plan says


@final
class AskHeld(AbstractMessage):
    """Ask which tensors of a coming question a site still lacks.

    Args:
        about: What the question is about; what only an earlier one of this name needed is dropped.
        hashes: SHA-256 of each tensor.
    """

    kind: ClassVar[str] = "query.held"
    about: str
    hashes: tuple[str, ...]


@final
class Held(AbstractMessage):
    """Which tensors a site lacks.

    Reveals to the server: which of the named weights lie on the site's disk, all of them sent by a
    coordinator. Nothing of any patient.

    Args:
        lacking: Their hashes.
    """

    kind: ClassVar[str] = "held"
    lacking: tuple[str, ...]


@final
class TakePiece(AbstractMessage):
    """Hand a site one piece of the tensors of a coming question. Tensors: `bytes`.

    Args:
        number: Number of the piece, from 0.
        sha256: Of its bytes.
        segments: What is in it, in order.
    """

    kind: ClassVar[str] = "query.take_piece"
    number: int = Field(ge=0)
    sha256: str
    segments: tuple[Segment, ...]


@final
class PieceTaken(AbstractMessage):
    """The piece is on the site's disk. Reveals to the server: that.

    Args:
        number: Number of the piece.
    """

    kind: ClassVar[str] = "piece-taken"
    number: int = Field(ge=0)


@final
class AskPiece(AbstractMessage):
    """Ask for one piece of an answer that waits at the site's door.

    Args:
        parcel: Name of the parcel that the answer announced.
        offset: Where the piece begins in it.
        length: Its bytes.
    """

    kind: ClassVar[str] = "query.piece"
    parcel: str = Field(pattern=r"^[0-9a-f]{64}$")
    offset: int = Field(ge=0)
    length: int = Field(ge=1, le=LARGEST_PIECE)


@final
class Piece(AbstractMessage):
    """One piece of an answer. Tensors: `bytes`.

    Reveals to the server: part of what the answer reveals that announced it, and nothing else.

    Args:
        offset: Where it begins.
        sha256: Of its bytes.
    """

    kind: ClassVar[str] = "piece"
    offset: int = Field(ge=0)
    sha256: str


@final
class DropParcels(AbstractMessage):
    """Tell a site that pieces on its disk are of no more use.

    Args:
        parcel: The answer that has arrived; all pieces of whatever kind, if it is empty.
    """

    kind: ClassVar[str] = "query.drop_parcels"
    parcel: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")


@final
class ParcelsDropped(AbstractMessage):
    """They are gone. Reveals to the server: that."""

    kind: ClassVar[str] = "parcels-dropped"


PARCEL_QUESTIONS = (AskHeld, TakePiece, AskPiece, DropParcels)
PARCEL_ANSWERS = (Held, PieceTaken, Piece, ParcelsDropped)
