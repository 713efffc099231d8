"""Inputs and seeds for tests of single encoders."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from lego_core.records import Inputs


@pytest.fixture(autouse=True)
def _own_randomness() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def make_inputs() -> Callable[..., Inputs]:
    """Give a maker of inputs in which, unless told otherwise, everything is measured and real."""

    def make(
        values: Tensor,
        *,
        measured: Tensor | None = None,
        present: Tensor | None = None,
        times_days: Tensor | None = None,
    ) -> Inputs:
        rows = values.shape[:2]
        return Inputs(
            values,
            torch.ones_like(values, dtype=torch.bool) if measured is None else measured,
            torch.ones(rows, dtype=torch.bool) if present is None else present,
            torch.zeros(rows) if times_days is None else times_days,
            torch.ones(len(values), dtype=torch.bool),
        )

    return make
