"""What a study has measured so far, on the disk, step by step, whole or not at all.

DIR/trials/repeat-1-fold-2/STEP.safetensors   predictions, by number
DIR/trials/repeat-1-fold-2/STEP.json          the arms in the same order, or why the step failed
"""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from lego_core.component import Component
from simulations.benchmarks.protocol import Place
from simulations.benchmarks.store import Store
from simulations.benchmarks.studies._arms import Arm, Measured


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
    """The measurements of one study.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, place: Place, step: str, measured: Sequence[Measured]) -> None:
        """Keep predictions, then note that they are there."""
        said = {str(i): one.what.clone() for i, one in enumerate(measured) if isinstance(one.what, Tensor)}
        self._store.save_weights(place, step, said)
        arms = tuple(
            Noted(
                condition=one.arm.condition,
                method=one.arm.method,
                number=None if isinstance(one.what, Tensor) else one.what,
                unit=one.unit,
            )
            for one in measured
        )
        self._store.note(place, step, Page(arms=arms))

    def write_failure(self, place: Place, step: str, sentence: str) -> None:
        """Note why a step failed."""
        self._store.note(place, step, Page(failed=sentence))

    def failure(self, place: Place, step: str) -> str:
        """Why a step failed; empty if it did not."""
        return self._store.noted(place, step, Page).failed

    def read(self, place: Place, step: str) -> list[Measured]:
        """What a step measured; nothing if it failed."""
        page = self._store.noted(place, step, Page)
        said = self._store.weights(place, step) if page.arms else {}
        return [
            Measured(Arm(one.condition, one.method), said[str(index)] if number is None else number, one.unit)
            for index, one in enumerate(page.arms)
            for number in (one.number,)
        ]
