"""Was the forecast right: nearer pairs should have gained more."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lego_core.evaluation import Gain, PairMerge
from lego_core.hindsight import Hindsight, look_back
from lego_core.mergeability import Mergeability, MergeabilityPair


def forecasts(distances: list[float]) -> list[MergeabilityPair]:
    """Pairs of blocks; all measures say the same, but for L2, which says the contrary."""
    return [
        MergeabilityPair(
            first=first, second=second,
            forecast=Mergeability(
                l2_distance=10 - far, cosine_dissimilarity=far, sign_dissimilarity=far,
                truncated_sign_dissimilarity=far,
            ),
        )
        for (first, second), far in zip(combinations("abcd", 2), distances, strict=False)
    ]  # fmt: skip


def merges(gains: list[float]) -> list[PairMerge]:
    return [
        PairMerge(
            first=second, second=first, better=first,
            gain=Gain(value=gain, low=gain - 0.01, high=gain + 0.01, patients=50),
        )
        for (first, second), gain in zip(combinations("abcd", 2), gains, strict=False)
    ]  # fmt: skip


def judged(distances: list[float], gains: list[float]) -> Hindsight:
    found = look_back(forecasts(distances), merges(gains))
    assert found is not None
    return found


def taus(found: Hindsight) -> dict[str, float | None]:
    return {one.measure: one.tau for one in found.agreement}


def test_forecast_is_right_where_nearer_pairs_gained_more():
    found = judged([0.1, 0.2, 0.3], [0.05, 0.02, -0.01])

    assert taus(found)["sign_dissimilarity"] == pytest.approx(1)
    assert {one.measure: one.verdict for one in found.agreement} == {
        "sign_dissimilarity": "right",
        "truncated_sign_dissimilarity": "right",
        "cosine_dissimilarity": "right",
        "l2_distance": "wrong",
    }


def test_verdict_is_said_with_tau_and_chance():
    assert judged([0.1, 0.2, 0.3], [0.05, 0.02, -0.01]).sentence == (
        "The forecast of mergeability, looked at afterwards, ranked 3 pairs of blocks: "
        "SSD right (+1.00, 0.33), TSSD right (+1.00, 0.33), cosine right (+1.00, 0.33), "
        "L2 wrong (-1.00, 0.33) (Kendall's tau and p). "
        "So few pairs can fall into such an order by chance."
    )


@pytest.mark.parametrize(
    ("gains", "verdict"), [([3, 1, 2], "right"), ([1, 3, 2], "wrong"), ([2, 3, 4, 1], "unclear")]
)
def test_two_comparisons_of_three_must_fall_out_the_same_way(gains, verdict):
    found = judged([0.1, 0.2, 0.3, 0.4][: len(gains)], [float(gain) for gain in gains])

    assert found.agreement[0].verdict == verdict
    assert taus(found)["sign_dissimilarity"] == pytest.approx(
        {"right": 1, "wrong": -1, "unclear": 0}[verdict] / 3
    )


def test_chance_is_not_blamed_for_what_it_hardly_does():
    assert "chance" not in judged([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]).sentence


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(-5, 5)), min_size=3, max_size=6).filter(
        lambda pairs: all(len({pair[side] for pair in pairs}) > 1 for side in (0, 1))
    )
)
def test_tau_counts_pairs_in_the_right_order_and_ties(numbers):
    def sign(value: float) -> int:
        return (value > 0) - (value < 0)

    both = [
        (sign(a[0] - b[0]), sign(a[1] - b[1]))
        for a, b in combinations([(-far, gain) for far, gain in numbers], 2)
    ]
    agreeing = sum(x * y for x, y in both)
    untied = [sum(pair[side] != 0 for pair in both) for side in (0, 1)]

    found = judged([float(far) for far, _ in numbers], [float(gain) for _, gain in numbers])

    assert taus(found)["sign_dissimilarity"] == pytest.approx(agreeing / (untied[0] * untied[1]) ** 0.5)


def test_gains_that_do_not_differ_judge_nothing():
    found = judged([0.1, 0.2, 0.3], [0.02, 0.02, 0.02])

    assert {(one.tau, one.verdict) for one in found.agreement} == {(None, "unclear")}
    assert "SSD could not be judged" in found.sentence


@pytest.mark.parametrize(
    ("pairs", "said"), [(0, "no site scored the merge of two blocks"), (1, "1 pair of"), (2, "2 pairs of")]
)
def test_fewer_than_three_pairs_judge_nothing(pairs, said):
    found = judged([0.1, 0.2, 0.3], [0.05, 0.02, -0.01][:pairs])

    assert found.agreement == ()
    assert found.sentence.startswith("Whether the forecast of mergeability was right could not be judged: ")
    assert said in found.sentence


def test_pairs_are_found_whatever_their_order_in_the_run():
    (first, *others), gained = forecasts([0.1, 0.2, 0.3]), merges([0.05, 0.02, -0.01])

    assert look_back([*others, first], gained[::-1]) == look_back([first, *others], gained)


def test_nothing_was_forecast_where_there_is_one_block():
    assert look_back([], []) is None
