"""A run as named series of numbers, for tools that draw such: TensorBoard and MLflow."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, final

from deploy.seeing.run_reader import RunReader
from deploy.seeing.run_state import BlockState, RunState

LOOK_SECONDS = 1.0
ALL_SITES = "all sites"


@final
@dataclass(frozen=True)
class Scalar:
    """One number of a series.

    Args:
        name: Of the series; slashes group what belongs together.
        step: The round; a validation loss stands at the round whose weights it is of.
        value: The number.
        time: When the coordinator wrote it down.
    """

    name: str
    step: int
    value: float
    time: datetime


class Sink(Protocol):
    """A tool that takes the numbers of one run."""

    def write(self, state: RunState, scalars: Sequence[Scalar]) -> None:
        """Take numbers that were not there before; none is given twice."""
        ...

    def close(self, state: RunState) -> None:
        """No more will come."""
        ...


def export(reader: RunReader, sink: Sink, *, follow: bool) -> int:
    """Give a tool all numbers of a run, once or until the run is over.

    Returns:
        How many there were.

    Raises:
        LogError: If the run's diary cannot be read.
    """
    given: set[tuple[str, int]] = set()
    while True:
        state = reader.look()
        fresh = [one for one in scalars_of(state) if (one.name, one.step) not in given]
        sink.write(state, fresh)
        given |= {(one.name, one.step) for one in fresh}
        if state.ended or not follow:
            sink.close(state)
            return len(given)
        time.sleep(LOOK_SECONDS)


def scalars_of(state: RunState) -> Iterator[Scalar]:
    """All numbers of a run."""
    for block in state.blocks.values():
        yield from _of_sites(block)
        yield from _of_rounds(block)
    if state.last_event:
        for one in state.scores:
            name = f"test {state.metric}/{' and '.join(one.modalities)}/{one.method}, {one.patients} patients"
            yield Scalar(name, 0, one.value, state.last_event)
        for site in state.sites.values():
            if site.epsilon is not None:
                yield Scalar(f"epsilon/{site.site}", site.charges, site.epsilon, state.last_event)
    for span in state.round_spans:
        if span.ended:
            seconds = (span.ended - span.began).total_seconds()
            yield Scalar(f"seconds of a round/{span.phase}", span.round, seconds, span.ended)


def _of_sites(block: BlockState) -> Iterator[Scalar]:
    for one in block.points:
        if one.train_loss is not None:
            name = f"train loss/{block.modality}/{one.site}"
            yield Scalar(name, one.round, one.train_loss, one.time)
        if one.validation_loss is not None:
            name = f"validation loss/{block.modality}/{one.site}"
            yield Scalar(name, one.round - 1, one.validation_loss, one.time)


def _of_rounds(block: BlockState) -> Iterator[Scalar]:
    for one in block.curve:
        if one.validation_loss is not None:
            name = f"validation loss/{block.modality}/{ALL_SITES}"
            yield Scalar(name, one.round - 1, one.validation_loss, one.time)
        if one.validation_score is not None:
            name = f"validation score/{block.modality}/{ALL_SITES}"
            yield Scalar(name, one.round - 1, one.validation_score, one.time)
