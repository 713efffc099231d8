"""Checkpoints on the coordinator's disk: whole or not at all, hashed, and sealed where there is a key.

0003-blocks-round-001/
    checkpoint.json          the state in plain values, and the hash of every file beside it
    clinical.safetensors     tensors, by name; two names of equal tensors share a file
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from safetensors.torch import load, save
from torch import Tensor

from lego_core.errors import LegoError, PrivacyError, RunError
from lego_core.sealed_file import SealingKey, open_sealed, seal

FORMAT = 1
KEEP = 2  # the last one and the one before, should the disk fail under the last
CONTENTS, TENSORS, SEALED = "checkpoint.json", ".safetensors", ".sealed"
NAME = re.compile(r"(\d{4,})-.+")

States = Mapping[str, Mapping[str, Tensor]]


@final
@dataclass(frozen=True)
class Vault:
    """Where the checkpoints of a run lie.

    Args:
        folder: The folder.
        key: What they are sealed with; they lie open if there is none.
    """

    folder: Path
    key: SealingKey | None = None

    def checkpoints(self) -> list[Path]:
        """The folders of all checkpoints, the newest first."""
        there = [one for one in self.folder.glob("*") if NAME.fullmatch(one.name)]
        return sorted(there, key=number_of, reverse=True)


@final
@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint holds.

    Args:
        name: Of its folder.
        state: Plain values.
        tensors: Named tensors, by name.
    """

    name: str
    state: Mapping[str, Any]
    tensors: States


def number_of(folder: Path) -> int:
    """The number of a checkpoint within its run, from 1."""
    return int(folder.name.split("-")[0])


def write_checkpoint(
    vault: Vault, *, number: int, about: str, state: Mapping[str, Any], tensors: States
) -> Path:
    """Save a checkpoint, and drop those that are no longer needed.

    Args:
        vault: Where the checkpoints of the run lie.
        number: Its number within the run; the first drops whatever an earlier run has left.
        about: What was finished, such as `blocks-round-001`.
        state: Plain values, as JSON has them.
        tensors: Named tensors, by name.

    Returns:
        Its folder.

    Raises:
        RunError: If it cannot be written; the ones before are as they were.
    """
    final = vault.folder / f"{number:04d}-{about}"
    unfinished = vault.folder / f".{final.name}.unfinished"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        _write_contents(vault, unfinished, name=final.name, state=state, tensors=tensors)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(unfinished, final)
        _sync(vault.folder)
    except (OSError, PrivacyError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RunError(
            f"Checkpoint '{final.name}' cannot be written ({reason}). The one before it is as it was. "
            "Make room on the disk, or mend the folder's rights, and resume the run.",
            local=str(final),
        ) from error
    for other in vault.folder.glob("*"):
        kept = NAME.fullmatch(other.name) and 0 <= number - number_of(other) < KEEP
        if other.is_dir() and not kept:
            shutil.rmtree(other, ignore_errors=True)
    return final


def read_checkpoint(folder: Path, *, key: SealingKey | None = None) -> Checkpoint:
    """Read what `write_checkpoint` saved.

    Args:
        folder: What it returned.
        key: What the files are sealed with. Where a key is given, an open file is refused: whoever may
            write to the disk could have put it there.

    Raises:
        RunError: If there is no checkpoint, it is sealed and there is no key, or the other way round, or
            what it holds is not what was written.
        PrivacyError: If a sealed file does not open.
    """
    ending = "" if key is None else SEALED
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    if not files or any(file.name.endswith(SEALED) != bool(ending) for file in files):
        raise RunError(
            f"Checkpoint '{folder.name}' holds {[file.name for file in files]}, and files that "
            f"{'do not end' if key is None else 'end'} with '{SEALED}' were expected "
            f"{'without a key' if key is None else 'with a key'}. Name the key it was sealed with, if any.",
            local=str(folder),
        )
    line, _, written = _read(folder, CONTENTS, key).decode("utf-8", "replace").partition("\n")
    if hashlib.sha256(line.encode()).hexdigest() != written.strip():
        raise _damaged(folder, CONTENTS)
    contents = json.loads(line)
    if contents["format"] != FORMAT:
        raise RunError(
            f"Checkpoint '{folder.name}' has format {contents['format']} and this version reads {FORMAT}. "
            "Resume the run with the version that began it."
        )
    tensors = {}
    for name, file in contents["files"].items():
        content = _read(folder, file["name"], key)
        if hashlib.sha256(content).hexdigest() != file["sha256"]:
            raise _damaged(folder, file["name"])
        tensors[name] = load(content)
    return Checkpoint(folder.name, contents["state"], tensors)


def newest(vault: Vault) -> tuple[Checkpoint | None, dict[str, str]]:
    """The newest checkpoint that holds, and why those after it do not, by name."""
    damaged: dict[str, str] = {}
    for folder in vault.checkpoints():
        try:
            return read_checkpoint(folder, key=vault.key), damaged
        except LegoError as error:
            damaged[folder.name] = error.public
    return None, damaged


def _write_contents(
    vault: Vault, folder: Path, *, name: str, state: Mapping[str, Any], tensors: States
) -> None:
    files: dict[str, dict[str, str]] = {}
    written: dict[str, str] = {}
    for key, named in tensors.items():
        content = save({one: tensor.contiguous() for one, tensor in named.items()})
        digest = hashlib.sha256(content).hexdigest()
        if digest not in written:
            written[digest] = f"{key}{TENSORS}"
            _write(vault, folder / written[digest], content, about=f"{name}/{key}")
        files[key] = {"name": written[digest], "sha256": digest}
    line = json.dumps(
        {"format": FORMAT, "state": state, "files": files}
    )  # in order: that of modalities counts
    hashed = f"{line}\n{hashlib.sha256(line.encode()).hexdigest()}\n".encode()
    _write(vault, folder / CONTENTS, hashed, about=f"{name}/{CONTENTS}")
    _sync(folder)


def _write(vault: Vault, path: Path, content: bytes, *, about: str) -> None:
    if vault.key is not None:
        seal(content, path.with_name(path.name + SEALED), key=vault.key, about=about)
        return
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(folder: Path, name: str, key: SealingKey | None) -> bytes:
    path = folder / name
    if key is not None:
        about = f"{folder.name}/{name.removesuffix(TENSORS)}"
        return open_sealed(path.with_name(name + SEALED), key=key, about=about)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(folder, name) from error


def _damaged(folder: Path, name: str) -> RunError:
    return RunError(
        f"Checkpoint '{folder.name}' is damaged: '{name}' is not there, or not as it was written. Go on from "
        "the one before.",
        local=str(folder),
    )


def _sync(folder: Path) -> None:
    """Have the names of files on the disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
