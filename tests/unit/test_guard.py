"""Bounds against broken and hostile sites."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lego_core.errors import ProtocolError
from lego_core.guard import Guard, check_norm, shortened
from lego_core.update import BlockUpdate


@settings(max_examples=50, deadline=None)
@given(scale=st.floats(0, 1e6), bound=st.floats(1e-3, 1e3), weight=st.floats(1, 1e4))
def test_an_update_is_never_longer_than_its_bound_and_keeps_its_direction(scale, bound, weight):
    way = {"b": torch.tensor([3.0, 0.0]) * scale, "a": torch.tensor([[-4.0]]) * scale}

    update, was_longer = shortened(way, weight=weight, bound=bound)

    mean = update.mean()
    assert float(mean.norm()) <= bound * (1 + 1e-5)
    assert was_longer == (5.0 * scale > bound) or scale * 5.0 == pytest.approx(bound)
    torch.testing.assert_close(mean * 5.0, float(mean.norm()) * torch.tensor([-4.0, 3.0, 0.0]))


def test_a_short_update_stays_as_it_is():
    update, was_longer = shortened({"a": torch.tensor([0.5, -0.25])}, weight=4.0, bound=10.0)

    assert not was_longer
    assert update.weight == 4.0
    assert update.mean().tolist() == [0.5, -0.25]


def test_a_sum_that_is_longer_than_every_site_may_be_is_refused():
    update = BlockUpdate(torch.full((4,), 10.0), 10.0)  # a mean of norm 2

    check_norm(update, bound=2.0, whose="The mean", key="guard.norm-bound")
    with pytest.raises(ProtocolError, match=r"^The mean has norm 2, and this run bounds it by 1\.9 at every"):
        check_norm(update, bound=1.9, whose="The mean", key="guard.norm-bound")


def test_a_norm_that_is_not_a_number_is_refused():
    with pytest.raises(ProtocolError, match="has norm nan"):
        check_norm(
            BlockUpdate(torch.tensor([float("nan")]), 1.0), bound=1.0, whose="It", key="guard.norm-bound"
        )


def test_a_loss_may_rise_by_its_share_and_no_more():
    guard = Guard(worst_rise=0.5)

    assert not guard.is_too_bad(1.5, best=1.0)
    assert guard.is_too_bad(1.51, best=1.0)
    assert guard.is_too_bad(float("nan"), best=1.0)
    assert not guard.is_too_bad(None, best=1.0)
    assert not guard.is_too_bad(9.0, best=float("inf"))
    assert not Guard().is_too_bad(9.0, best=1.0)
