"""Finished rounds on the coordinator's disk: written whole or not at all, and sealed where there is a key."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from safetensors.torch import load, save
from torch import Tensor

from lego_core.errors import RunError
from lego_core.sealed_file import SealingKey, open_sealed, seal

KEEP = 2  # the last round and the one before, should the disk fail under the last
PLAIN, SEALED = ".safetensors", ".safetensors.sealed"

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


def write_checkpoint(vault: Vault, *, phase: str, round_number: int, tensors: States) -> Path:
    """Save the state of every model after a round, and drop rounds that are no longer needed.

    Args:
        vault: Where the checkpoints of the run lie.
        phase: `blocks` or `fuse`.
        round_number: The finished round.
        tensors: State of each model, by its name.

    Returns:
        The folder of this checkpoint: one file per model, sealed if the vault has a key.

    Raises:
        PrivacyError: If a sealed file cannot be written.
    """
    folder = vault.folder
    final = folder / f"{phase}-round-{round_number:03d}"
    unfinished = folder / f".{final.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, state in tensors.items():
        content = save({key: value.contiguous() for key, value in state.items()})
        if vault.key is None:
            (unfinished / f"{name}{PLAIN}").write_bytes(content)
        else:
            seal(content, unfinished / f"{name}{SEALED}", key=vault.key, about=f"{final.name}/{name}")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(unfinished, final)
    kept = {f"{phase}-round-{number:03d}" for number in range(round_number - KEEP + 1, round_number + 1)}
    for other in folder.glob(f"{phase}-round-*"):
        if other.name not in kept:  # an earlier round, or one of a run that had this folder before
            shutil.rmtree(other)
    return final


def read_checkpoint(folder: Path, *, key: SealingKey | None = None) -> dict[str, dict[str, Tensor]]:
    """Read the states that `write_checkpoint` saved.

    Args:
        folder: What it returned.
        key: What the files are sealed with. Where a key is given, an open file is refused: whoever may
            write to the disk could have put it there.

    Returns:
        State of each model, by its name.

    Raises:
        RunError: If there is no checkpoint, or it is sealed and there is no key, or the other way round.
        PrivacyError: If a sealed file does not open.
    """
    ending = PLAIN if key is None else SEALED
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    if not files or any(not file.name.endswith(ending) for file in files):
        raise RunError(
            f"Checkpoint '{folder.name}' holds {[file.name for file in files]}, and files that end with "
            f"'{ending}' were expected {'without a key' if key is None else 'with a key'}. Name the folder "
            "of a round, and the key it was sealed with, if it was.",
            local=str(folder),
        )
    states = {}
    for file in files:
        name = file.name.removesuffix(ending)
        content = (
            file.read_bytes() if key is None else open_sealed(file, key=key, about=f"{folder.name}/{name}")
        )
        states[name] = load(content)
    return states
