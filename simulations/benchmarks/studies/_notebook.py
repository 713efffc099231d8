"""What a study has measured so far, on the disk, step by step, whole or not at all.

DIR/trials/repeat-1-fold-2/STEP.safetensors   predictions, by number
DIR/trials/repeat-1-fold-2/STEP.json          the arms in the same order, or why the step failed
"""

from collections.abc import Sequence
from pathlib import Path
from typing import final
from urllib.parse import quote

from pydantic import ValidationError
from torch import Tensor

from lego_core.component import Component, explain
from lego_core.errors import RunError
from simulations.benchmarks.protocol import Place
from simulations.benchmarks.store import Store, write_whole
from simulations.benchmarks.studies._contract import Arm, Measured


@final
class Noted(Component):
    """One arm; `number` is None where there are predictions."""

    condition: str
    method: str
    number: float | None = None
    unit: str = ""


@final
class Page(Component):
    """One step of one trial.

    Args:
        arms: What was measured.
        failed: Why there is nothing; empty if there is.
    """

    arms: tuple[Noted, ...] = ()
    failed: str = ""


@final
class Notebook:
    """The folder of one study.

    Args:
        folder: Where it lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder)

    def has(self, place: Place, step: str) -> bool:
        """Whether a step is done, well or not."""
        return self._path(place, step).is_file()

    def write(self, place: Place, step: str, measured: Sequence[Measured]) -> None:
        """Keep predictions, then note that they are there."""
        said = {str(i): one.what.clone() for i, one in enumerate(measured) if isinstance(one.what, Tensor)}
        self.store.save_weights(place, step, said)
        arms = tuple(
            Noted(
                condition=one.arm.condition,
                method=one.arm.method,
                number=None if isinstance(one.what, Tensor) else one.what,
                unit=one.unit,
            )
            for one in measured
        )
        self._note(place, step, Page(arms=arms))

    def write_failure(self, place: Place, step: str, sentence: str) -> None:
        """Note why a step failed."""
        self._note(place, step, Page(failed=sentence))

    def failure(self, place: Place, step: str) -> str:
        """Why a step failed; empty if it did not."""
        return self._page(place, step).failed

    def read(self, place: Place, step: str) -> list[Measured]:
        """What a step measured; nothing if it failed."""
        page = self._page(place, step)
        said = self.store.weights(place, step) if page.arms else {}
        return [
            Measured(Arm(one.condition, one.method), said[str(index)] if number is None else number, one.unit)
            for index, one in enumerate(page.arms)
            for number in (one.number,)
        ]

    def _page(self, place: Place, step: str) -> Page:
        try:
            return Page.model_validate_json(self._path(place, step).read_bytes())
        except ValidationError as error:
            raise explain(error, where=f"The notes on '{step}' of {place}", kind=RunError) from error

    def _note(self, place: Place, step: str, page: Page) -> None:
        write_whole(self._path(place, step), page.model_dump_json(indent=1) + "\n")

    def _path(self, place: Place, step: str) -> Path:
        return self.folder / "trials" / str(place) / f"{quote(step, safe=' :')}.json"
