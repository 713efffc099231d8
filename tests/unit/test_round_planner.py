"""Does a planned round fit, and does what helps help?"""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lego_core.errors import PlanError
from lego_core.round_planner import Round, advise, link_seconds

SIZES = st.integers(0, 10**9)
ROUNDS = st.builds(
    Round,
    bytes_down=SIZES,
    bytes_up=SIZES,
    messages=st.integers(1, 5),
    mbit=st.floats(0.01, 10_000),
    latency_seconds=st.floats(0, 2),
    seconds_per_step=st.floats(1e-4, 100),
    wait_seconds=st.floats(1, 1e5),
    margin=st.floats(0, 0.9),
)
STEPS = st.integers(1, 10**5)
BASE = {
    "bytes_down": 10**6, "bytes_up": 10**6, "messages": 1, "mbit": 4.0, "latency_seconds": 0.0,
    "seconds_per_step": 0.3, "wait_seconds": 300.0,
}  # fmt: skip


@given(ROUNDS, STEPS, st.integers(1, 50))
def test_a_round_never_exceeds_the_wait(one: Round, wanted: int, whole: int) -> None:
    if one.most_steps < whole:
        with pytest.raises(
            PlanError, match=r"takes .* may be used\. Wait \d+ s \(key participation.round-se"
        ):
            advise(one, wanted_steps=wanted, whole=whole)
        assert one.seconds(whole) > one.wait_seconds * (1 - one.margin) * (1 - 1e-9)
        return
    advice = advise(one, wanted_steps=wanted, whole=whole)
    assert advice.round_seconds <= one.wait_seconds * (1 - one.margin)
    assert advice.steps >= 1
    assert advice.steps % whole == 0
    assert wanted <= advice.steps * advice.rounds < wanted + advice.steps + whole * advice.rounds
    assert advice.total_seconds == pytest.approx(advice.rounds * one.seconds(advice.steps))


@given(ROUNDS, st.floats(1, 100))
def test_a_faster_link_never_allows_fewer_steps(one: Round, times: float) -> None:
    faster = Round(**{**vars(one), "mbit": one.mbit * times})

    assert faster.most_steps >= one.most_steps


@given(ROUNDS, st.floats(1, 100))
def test_a_longer_wait_never_allows_fewer_steps(one: Round, times: float) -> None:
    longer = Round(**{**vars(one), "wait_seconds": one.wait_seconds * times})

    assert longer.most_steps >= one.most_steps


@given(ROUNDS, STEPS, st.integers(1, 50))
def test_the_wait_that_is_asked_for_is_enough(one: Round, wanted: int, whole: int) -> None:
    assume(one.most_steps < whole)
    with pytest.raises(PlanError) as refused:
        advise(one, wanted_steps=wanted, whole=whole)
    found = re.search(r"Wait (\d+) s", str(refused.value))
    assert found
    enough = Round(**{**vars(one), "wait_seconds": int(found[1]) + 1.0})

    assert advise(enough, wanted_steps=wanted, whole=whole).steps >= whole


@given(ROUNDS, STEPS, st.integers(1, 100))
def test_no_round_is_longer_than_it_may_be(one: Round, wanted: int, longest: int) -> None:
    assume(one.most_steps > 0)

    assert advise(one, wanted_steps=wanted, longest=longest).steps <= longest


def test_a_round_reckoned_by_hand() -> None:
    # 2 MB over 4 Mbit/s take 4 s, the polls 9; of 225 s, 212 remain for steps of 0.3 s.
    one = Round(**BASE)

    assert one.fixed_seconds == pytest.approx(13.0)
    assert one.most_steps == 706
    assert advise(one, wanted_steps=1000).rounds == 2
    assert advise(one, wanted_steps=1000).steps == 500  # as even as can be
    assert link_seconds(10**6, mbit=8.0, latency_seconds=0.5) == pytest.approx(3.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mbit": 0.0},
        {"seconds_per_step": -1.0},
        {"wait_seconds": float("nan")},
        {"margin": 1.0},
        {"messages": 0},
        {"bytes_up": -1},
        {"latency_seconds": float("inf")},
    ],
    ids=str,
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PlanError, match="No round can be planned with"):
        Round(**{**BASE, **wrong})


@pytest.mark.parametrize("wrong", [{"wanted_steps": 0}, {"wanted_steps": 5, "whole": 0}])
def test_no_training_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(PlanError, match="are no training"):
        advise(Round(**BASE), **wrong)
