"""Median against numpy and hostile sites."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lego_core.aggregation import Median, ServerState
from lego_core.errors import RunError
from lego_core.update import BlockUpdate


def aggregate(values: list[list[float]], *, weights: list[float] | None = None) -> list[float]:
    counts = weights or [1.0] * len(values)
    updates = [
        BlockUpdate(torch.tensor(value, dtype=torch.float64) * count, count)
        for value, count in zip(values, counts, strict=True)
    ]
    moved, _ = Median().aggregate(
        torch.zeros(len(values[0]), dtype=torch.float64), updates, state=ServerState()
    )
    return moved.tolist()


@settings(max_examples=50, deadline=None)
@given(sites=st.integers(3, 9), seed=st.integers(0, 2**32 - 1))
def test_each_parameter_takes_its_own_median(sites, seed):
    values = np.random.default_rng(seed).normal(size=(sites, 4))

    np.testing.assert_allclose(aggregate(values.tolist()), np.median(values, axis=0), atol=1e-12)


@pytest.mark.parametrize("attack", [1e9, -1e9])
def test_two_hostile_sites_of_five_move_nothing_beyond_the_honest_ones(attack):
    (moved,) = aggregate([[1.0], [1.1], [1.2], [attack], [attack]])

    assert 1.0 <= moved <= 1.2


def test_a_site_that_claims_many_patients_counts_once():
    assert aggregate([[1.0], [2.0], [100.0]], weights=[1.0, 1.0, 1e6]) == [2.0]


def test_of_two_there_is_no_middle():
    with pytest.raises(RunError, match="The median of 2 updates guards against nobody, and 3 are needed"):
        aggregate([[1.0], [2.0]])
