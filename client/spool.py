"""Large tensors on a site's disk while they travel: what came for a question, and what waits to leave.

held/SHA256          a tensor that came, whole
held/SHA256.part     one that is still coming, in pieces of any order; SHA256.written tells which came
held.json            which tensors the last question of each name needs
draft/, outbox/      answers before and after the site's door has let them out
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

import torch
from flwr.app import Context
from torch import Tensor

from client.site import local_log
from lego_core.errors import DataError, ProtocolError
from lego_core.parcel_letters import AskPiece, TakePiece
from lego_core.parcels import Parcel, Segment, bytes_of

STEP = 16 * 2**20  # bytes; what is hashed or written at a time


@final
class Spool:
    """The folder.

    Args:
        folder: Where; it is made when the first piece comes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held, self._index = folder / "held", folder / "held.json"

    @classmethod
    def of(cls, context: Context) -> "Spool":
        """The spool of a site, beside its own log."""
        return cls(local_log(context).parent / "spool")

    # ---- what comes ------------------------------------------------------------------------

    def lacking(self, about: str, hashes: Sequence[str]) -> list[str]:
        """Which tensors of a coming question are not here; what only an earlier one needed is dropped."""
        with _plain_errors():
            index = self._read_index() | {about: list(hashes)}
            needed = {one for own in index.values() for one in own}
            self._held.mkdir(parents=True, exist_ok=True)
            for file in self._held.iterdir():
                if file.name.split(".")[0] not in needed:
                    file.unlink(missing_ok=True)
            self._index.write_text(json.dumps(index), encoding="utf-8")
        return sorted({one for one in hashes if not (self._held / one).is_file()})

    def take(self, question: TakePiece, content: Tensor) -> None:
        """Put a piece down.

        Raises:
            ProtocolError: If it is not what was announced.
            DataError: If it cannot be written.
        """
        if content.dtype != torch.uint8 or content.ndim != 1:
            raise ProtocolError(f"Piece {question.number} is not made of bytes. Nothing was kept.")
        data = content.numpy().data
        announced = sum(one.length for one in question.segments)
        if len(data) != announced or hashlib.sha256(data).hexdigest() != question.sha256:
            raise ProtocolError(
                f"Piece {question.number} came with {len(data)} bytes, or other bytes, than the "
                f"{announced} that were announced. Nothing was kept of it; send it again."
            )
        start = 0
        with _plain_errors():
            for one in question.segments:
                self._append(one, data[start : start + one.length], number=question.number)
                start += one.length

    def open_held(self, parcel: Parcel) -> dict[str, Tensor]:
        """The tensors of a question, mapped from the disk.

        Raises:
            ProtocolError: If one is not here.
        """
        lacking = [one.name for one in parcel.tensors if not (self._held / one.sha256).is_file()]
        if lacking:
            raise ProtocolError(
                f"A question came before {len(lacking)} of its {len(parcel.tensors)} tensors, the first of "
                f"them '{lacking[0]}'. Nothing was computed; send their pieces, and ask again."
            )
        with _plain_errors():
            return {
                one.name: _mapped(self._held / one.sha256, one.nbytes)
                .view(one.torch_dtype)
                .reshape(one.shape)
                for one in parcel.tensors
            }

    def _append(self, segment: Segment, data: memoryview, *, number: int) -> None:
        whole, part = self._held / segment.sha256, self._held / f"{segment.sha256}.part"
        written = part.with_suffix(".written")
        if whole.is_file():
            return
        if segment.offset + segment.length > segment.size:
            raise ProtocolError(
                f"Piece {number} holds {segment.length} bytes from {segment.offset} of a tensor of "
                f"{segment.size} bytes, which has no such place. It was put aside; run the same code at "
                "both ends."
            )
        self._held.mkdir(parents=True, exist_ok=True)
        with part.open("r+b" if part.is_file() else "wb") as file:
            file.seek(segment.offset)
            file.write(data)
        with written.open("a", encoding="utf-8") as lines:
            lines.write(f"{segment.offset} {segment.offset + segment.length}\n")
        if _covers(written, segment.size):
            written.unlink()
            if part.stat().st_size != segment.size or _hash_of(part) != segment.sha256:
                part.unlink()
                raise ProtocolError(
                    f"A tensor of {segment.size} bytes is whole with piece {number}, and has another hash "
                    "than was announced. It was dropped; send it again."
                )
            part.rename(whole)

    def _read_index(self) -> dict[str, list[str]]:
        try:
            return {str(key): list(own) for key, own in json.loads(self._index.read_text()).items()}
        except (FileNotFoundError, ValueError, AttributeError):
            return {}

    # ---- what leaves -----------------------------------------------------------------------

    def draft(self, tensors: Mapping[str, Tensor]) -> Parcel:
        """Put an answer's tensors down, for the site's door to look at.

        Raises:
            DataError: If they cannot be written.
        """
        parcel = Parcel.of(tensors)
        with _plain_errors():
            (self._folder / "draft").mkdir(parents=True, exist_ok=True)
            with (self._folder / "draft" / parcel.sha256).open("wb") as file:
                for place, one in zip(parcel.offsets, parcel.tensors, strict=True):
                    file.write(bytes(place - file.tell()))
                    data = bytes_of(tensors[one.name]).numpy().data
                    for start in range(0, len(data), STEP):
                        file.write(data[start : start + STEP])
        return parcel

    def open_draft(self, parcel: Parcel) -> dict[str, Tensor]:
        """The tensors of such an answer, mapped from the disk."""
        with _plain_errors():
            return parcel.unpack(_mapped(self._folder / "draft" / parcel.sha256, parcel.nbytes))

    def let_out(self, parcel: Parcel) -> None:
        """Have a draft given to the server when it asks; only the site's door may call this."""
        with _plain_errors():
            (self._folder / "outbox").mkdir(parents=True, exist_ok=True)
            (self._folder / "draft" / parcel.sha256).rename(self._folder / "outbox" / parcel.sha256)

    def give(self, question: AskPiece) -> Tensor:
        """A piece of an answer that was let out.

        Raises:
            ProtocolError: If there is no such answer, or it is shorter.
        """
        try:
            with (self._folder / "outbox" / question.parcel).open("rb") as file:
                file.seek(question.offset)
                content = bytearray(file.read(question.length))
        except FileNotFoundError:
            content = bytearray()
        if len(content) != question.length:
            raise ProtocolError(
                f"A piece of {question.length} bytes from {question.offset} of answer "
                f"{question.parcel[:12]}… was asked for, and no answer that left this site's door has "
                "them. Ask the question itself again."
            )
        return torch.frombuffer(content, dtype=torch.uint8)

    def drop(self, parcel: str) -> None:
        """Forget an answer that has arrived; everything, if none is named."""
        with _plain_errors():
            if parcel:
                (self._folder / "outbox" / parcel).unlink(missing_ok=True)
            elif self._folder.exists():
                shutil.rmtree(self._folder)

    def drop_drafts(self) -> None:
        """Forget answers that the door did not let out."""
        shutil.rmtree(self._folder / "draft", ignore_errors=True)


def _mapped(path: Path, size: int) -> Tensor:
    """The bytes of a file, read when they are looked at; what is written to them stays in this process."""
    if not size:
        return torch.empty(0, dtype=torch.uint8)
    return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)


def _covers(written: Path, size: int) -> bool:
    """Whether what was written, in whatever order and how often, leaves no gap."""
    reached = 0
    for line in sorted(written.read_text(encoding="utf-8").splitlines(), key=lambda one: int(one.split()[0])):
        start, end = map(int, line.split())
        if start > reached:
            return False
        reached = max(reached, end)
    return reached >= size


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say in public words that the disk did not do what it was asked."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise DataError(
            f"This site's disk {'is full' if full else 'cannot be written or read'} where large tensors "
            "wait. The site's operator finds the place in the site's log; make room there, and the "
            "coordinator asks again in the next round.",
            local=repr(error),
        ) from error
