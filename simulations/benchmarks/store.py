"""What a benchmark has found so far, on the disk, whole or not at all.

DIR/bench.json                                 what is benchmarked; another benchmark is refused
DIR/trials/repeat-1-fold-2/METHOD.npz          predictions for test and validation patients
DIR/trials/repeat-1-fold-2/METHOD.json         seconds and parameters, or why it failed
DIR/trials/repeat-1-fold-2/block:MODALITY.safetensors   the weights of a trained block
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final
from urllib.parse import quote

import numpy as np
import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lego_core.component import Component, explain
from lego_core.errors import RunError
from simulations.benchmarks.protocol import Place

C = TypeVar("C", bound=Component)


@final
class Record(Component):
    """How a method got on in a trial, beside its predictions.

    Args:
        seconds: Of one processor, from data to predictions, the blocks it is made of included.
        parameters: Number of weights; 0 for methods that have none.
        chosen: The modality of the best block.
        failed: Why there are no predictions; empty if there are.
    """

    seconds: float = 0.0
    parameters: int = 0
    chosen: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a method says in a trial; rows of NaN for patients of whom it can say nothing."""

    test: Float[Tensor, "B Q"]
    validation: Float[Tensor, "V Q"]
    record: Record


@final
class Store:
    """The folder of one benchmark.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def claim(self, settings: Mapping[str, Any]) -> None:
        """Note what is benchmarked here, or make sure that it is what was noted before.

        Raises:
            RunError: If the folder holds another benchmark, or something else.
        """
        path = self.folder / "bench.json"
        if not path.is_file():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise RunError(
                    f"The folder '{self.folder.name}' is not empty and holds no benchmark. Name another one "
                    "with --output."
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(settings, indent=1) + "\n")
            return
        noted = json.loads(path.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(settings))
        differing = sorted(key for key in noted.keys() | now.keys() if noted.get(key) != now.get(key))
        if differing:
            raise RunError(
                f"The folder '{self.folder.name}' holds a benchmark with other settings: {differing} differ "
                "from what was asked now. Name another folder with --output, or give the options of then."
            )

    def has(self, place: Place, name: str) -> bool:
        """Whether something is finished in a trial, well or not."""
        return self._path(place, name, ".json").is_file()

    def note(self, place: Place, name: str, what: Component) -> None:
        """Note that something is finished, and how it got on."""
        write_whole(self._path(place, name, ".json"), what.model_dump_json(indent=1) + "\n")

    def noted(self, place: Place, name: str, kind: type[C]) -> C:
        """What was noted.

        Raises:
            RunError: If it is not a note of this kind.
        """
        try:
            return kind.model_validate_json(self._path(place, name, ".json").read_bytes())
        except ValidationError as error:
            raise explain(error, where=f"The notes on '{name}' of {place}", kind=RunError) from error

    def record(self, place: Place, method: str) -> Record:
        """How a method got on."""
        return self.noted(place, method, Record)

    def predictions(self, place: Place, method: str) -> tuple[Tensor, Tensor]:
        """Predictions for test and for validation patients."""
        with np.load(self._path(place, method, ".npz"), allow_pickle=False) as arrays:
            return torch.from_numpy(arrays["test"]), torch.from_numpy(arrays["validation"])

    def save(self, place: Place, method: str, answer: Answer) -> None:
        """Keep predictions, then note that they are there."""
        said = {"test": answer.test.numpy(), "validation": answer.validation.numpy()}
        save_arrays(self._path(place, method, ".npz"), said)
        self.note(place, method, answer.record)

    def save_failure(self, place: Place, method: str, sentence: str) -> None:
        """Note why a method failed in this trial."""
        self.note(place, method, Record(failed=sentence))

    def save_weights(self, place: Place, method: str, state: Mapping[str, Tensor]) -> None:
        """Keep the weights of a model."""
        whole = {name: tensor.contiguous() for name, tensor in state.items()}
        _write(self._path(place, method, ".safetensors"), lambda to: save_file(whole, to))

    def weights(self, place: Place, method: str) -> dict[str, Tensor]:
        """Weights that were kept."""
        return load_file(self._path(place, method, ".safetensors"))

    def _path(self, place: Place, method: str, ending: str) -> Path:
        return self.folder / "trials" / str(place) / f"{quote(method, safe=' :')}{ending}"


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name so that whoever looks finds all of them or nothing."""
    _write(path, lambda to: np.savez_compressed(to, allow_pickle=False, **arrays))


def write_whole(path: Path, text: str) -> None:
    """Write a text so that whoever looks finds all of it or nothing."""
    _write(path, lambda to: to.write_text(text, encoding="utf-8"))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")
    write(unfinished)
    unfinished.replace(path)
