"""Tensors too large for one message: what they are, in names and hashes, and how they are cut into pieces.

A tensor is known by the SHA-256 of its bytes, so whoever holds it already is not sent it again.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Literal, final

import torch
from pydantic import Field
from torch import Tensor

from lego_core.component import Component
from lego_core.errors import ProtocolError

LARGEST_MESSAGE = 32 * 2**20  # bytes of tensors that travel in one message, and of a piece
ALIGNED_TO = 64  # bytes; where a tensor may begin in a file that is mapped into memory
Sha256 = Field(pattern=r"^[0-9a-f]{64}$")
DTYPES = {
    name: getattr(torch, name)
    for name in (
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
    )
}
DtypeName = Literal[
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"
]


@final
class Packed(Component):
    """One tensor of a parcel.

    Args:
        name: Its name.
        dtype: Its type.
        shape: Its shape.
        sha256: Of its bytes.
    """

    name: str
    dtype: DtypeName
    shape: tuple[int, ...] = Field(max_length=16)
    sha256: str = Sha256

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.torch_dtype.itemsize * torch.Size(self.shape).numel()

    @property
    def torch_dtype(self) -> torch.dtype:
        """Its type, as torch calls it."""
        return DTYPES[self.dtype]

    def from_bytes(self, content: Tensor) -> Tensor:
        """The tensor whose bytes these are, in the same memory.

        Raises:
            ProtocolError: If they are not.
        """
        if sha256_of(content) != self.sha256:
            raise ProtocolError(
                f"Tensor '{self.name}' arrived with other bytes than were announced: its hash is not "
                f"{self.sha256[:12]}…. It was put aside; ask again."
            )
        return content.view(self.torch_dtype).reshape(self.shape)


@final
class Parcel(Component):
    """All tensors of a letter, in the order in which they travel."""

    tensors: tuple[Packed, ...]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Parcel":
        """Describe tensors.

        Raises:
            ProtocolError: If one is of a type that does not travel.
        """
        return cls(tensors=tuple(_packed(name, tensors[name]) for name in sorted(tensors)))

    @property
    def sha256(self) -> str:
        """The name of the parcel."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def offsets(self) -> tuple[int, ...]:
        """Where each tensor begins in the file of the parcel."""
        place, offsets = 0, []
        for one in self.tensors:
            offsets.append(place)
            place += -(-one.nbytes // ALIGNED_TO) * ALIGNED_TO
        return tuple(offsets)

    @property
    def nbytes(self) -> int:
        """Length of the file of the parcel."""
        return (self.offsets[-1] + self.tensors[-1].nbytes) if self.tensors else 0

    def unpack(self, content: Tensor) -> dict[str, Tensor]:
        """The tensors out of the file of the parcel, in the same memory.

        Raises:
            ProtocolError: If one is not what was announced.
        """
        places = zip(self.offsets, self.tensors, strict=True)
        return {one.name: one.from_bytes(content[place : place + one.nbytes]) for place, one in places}


@final
class Segment(Component):
    """Part of a tensor in a piece.

    Args:
        sha256: Of the whole tensor.
        size: Of the whole tensor, in bytes.
        offset: Where the part begins in it.
        length: Bytes of the part.
    """

    sha256: str = Sha256
    size: int = Field(ge=0)
    offset: int = Field(ge=0)
    length: int = Field(ge=0)


def cut(parcel: Parcel, lacking: Set[str], *, largest: int) -> Iterator[tuple[Segment, ...]]:
    """Cut the tensors that somebody lacks into pieces; each tensor once, however many names it has.

    Args:
        parcel: The tensors.
        lacking: Hashes of those to send.
        largest: Bytes in a piece, at most.
    """
    piece: list[Segment] = []
    room, seen = largest, set[str]()
    for one in parcel.tensors:
        if one.sha256 not in lacking or one.sha256 in seen:
            continue
        seen.add(one.sha256)
        offset = 0
        while True:
            length = min(room, one.nbytes - offset)
            piece.append(Segment(sha256=one.sha256, size=one.nbytes, offset=offset, length=length))
            offset, room = offset + length, room - length
            if not room:
                yield tuple(piece)
                piece, room = [], largest
            if offset == one.nbytes:
                break
    if piece:
        yield tuple(piece)


def bytes_of(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, in the same memory where it is contiguous."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def sha256_of(content: Tensor) -> str:
    """Hash of some bytes."""
    return hashlib.sha256(content.numpy().data).hexdigest()


def fill(piece: Sequence[Segment], held: Mapping[str, Tensor]) -> Tensor:
    """The bytes of a piece.

    Args:
        piece: Its segments.
        held: Tensors by their hashes.
    """
    return torch.cat([bytes_of(held[one.sha256])[one.offset : one.offset + one.length] for one in piece])


def nbytes(tensors: Mapping[str, Tensor]) -> int:
    """Size of some tensors."""
    return sum(tensor.nbytes for tensor in tensors.values())


def to_plain(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors in types that numpy knows, and the names of those that are bfloat16 in truth."""
    halved = sorted(name for name, tensor in tensors.items() if tensor.dtype == torch.bfloat16)
    return {
        name: tensor.view(torch.int16) if name in halved else tensor for name, tensor in tensors.items()
    }, halved


def from_plain(tensors: Mapping[str, Tensor], halved: Sequence[str]) -> dict[str, Tensor]:
    """The same back again.

    Raises:
        ProtocolError: If one that should be bfloat16 is not there in the form in which it travels.
    """
    odd = [name for name in halved if name not in tensors or tensors[name].dtype != torch.int16]
    if odd:
        raise ProtocolError(
            f"{len(odd)} tensors were announced as bfloat16 and are not among those that came in that "
            "form. The letter was put aside; run the same code at both ends."
        )
    return {
        name: tensor.view(torch.bfloat16) if name in halved else tensor for name, tensor in tensors.items()
    }


def _packed(name: str, tensor: Tensor) -> Packed:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise ProtocolError(
            f"Tensor '{name}' is of type {tensor.dtype}, which does not travel in pieces; those that do are "
            f"{sorted(DTYPES)}."
        )
    digest = sha256_of(bytes_of(tensor))
    return Packed.model_validate(
        {"name": name, "dtype": dtype, "shape": tuple(tensor.shape), "sha256": digest}
    )
