"""Finished rounds on the coordinator's disk: written whole or not at all."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

KEEP = 2  # the last round and the one before, should the disk fail under the last


def write_checkpoint(
    folder: Path, *, phase: str, round_number: int, tensors: Mapping[str, Mapping[str, Tensor]]
) -> Path:
    """Save the state of every model after a round, and drop rounds that are no longer needed.

    Args:
        folder: Where the checkpoints of the run lie.
        phase: `blocks` or `fuse`.
        round_number: The finished round.
        tensors: State of each model, by its name.

    Returns:
        The folder of this checkpoint: one safetensors file per model.
    """
    final = folder / f"{phase}-round-{round_number:03d}"
    unfinished = folder / f".{final.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for name, state in tensors.items():
        whole = {key: value.contiguous() for key, value in state.items()}
        save_file(whole, unfinished / f"{name}.safetensors")
    shutil.rmtree(final, ignore_errors=True)
    os.replace(unfinished, final)
    kept = {f"{phase}-round-{number:03d}" for number in range(round_number - KEEP + 1, round_number + 1)}
    for other in folder.glob(f"{phase}-round-*"):
        if other.name not in kept:  # an earlier round, or one of a run that had this folder before
            shutil.rmtree(other)
    return final
