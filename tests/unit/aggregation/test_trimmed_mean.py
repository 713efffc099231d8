"""TrimmedMean against hand-computed values and hostile sites."""

import pytest
import torch

from lego_core.aggregation import ServerState, TrimmedMean
from lego_core.errors import RunError
from lego_core.update import BlockUpdate


def aggregate(rule: TrimmedMean, *values: list[float], weights: list[float] | None = None) -> list[float]:
    counts = weights or [1.0] * len(values)
    updates = [
        BlockUpdate(torch.tensor(value) * count, count) for value, count in zip(values, counts, strict=True)
    ]
    moved, _ = rule.aggregate(torch.zeros(len(values[0])), updates, state=ServerState())
    return moved.tolist()


def test_each_parameter_loses_its_own_largest_and_smallest():
    values = [[1.0, 50.0], [2.0, 1.0], [3.0, 2.0], [4.0, 3.0], [100.0, -9.0]]

    assert aggregate(TrimmedMean(trim_fraction=0.2), *values) == [3.0, 2.0]


def test_weights_do_not_count():
    values = [[1.0], [2.0], [3.0], [4.0], [100.0]]

    assert aggregate(TrimmedMean(), *values, weights=[1.0, 1.0, 1.0, 1.0, 1e6]) == [3.0]


@pytest.mark.parametrize(("sites", "fraction", "expected"), [(10, 0.1, 4.5), (10, 0.3, 4.5), (7, 0.3, 3.0)])
def test_the_fraction_is_rounded_down_to_whole_sites(sites, fraction, expected):
    values = [[float(value)] for value in range(sites)]

    assert aggregate(TrimmedMean(trim_fraction=fraction), *values) == [expected]


def test_three_tenths_of_ten_sites_are_three_in_spite_of_rounding():
    values = [[0.0]] * 3 + [[1.0]] * 4 + [[1000.0]] * 3

    assert aggregate(TrimmedMean(trim_fraction=0.3), *values) == [1.0]


@pytest.mark.parametrize("attack", [1e6, -1e6, 0.0])
def test_hostile_sites_cannot_push_the_block_beyond_the_honest_ones(attack):
    honest = [[1.0], [1.1], [1.2]]

    moved = aggregate(TrimmedMean(trim_fraction=0.4), *honest, [attack], [attack])

    assert 1.0 - 1e-6 <= moved[0] <= 1.2 + 1e-6


def test_the_order_of_sites_never_matters_bit_for_bit():
    values = torch.randn(7, 40, generator=torch.Generator().manual_seed(1)).tolist()

    assert aggregate(TrimmedMean(), *values) == aggregate(TrimmedMean(), *reversed(values))


def test_too_few_sites_to_leave_one_out_are_refused():
    with pytest.raises(
        RunError, match=r"With 4 sites and trim-fraction 0\.2 no site would be left out.*Wait for 5 sites"
    ):
        aggregate(TrimmedMean(trim_fraction=0.2), *[[1.0]] * 4)


def test_it_must_see_each_site():
    assert TrimmedMean().needs_individual_updates
