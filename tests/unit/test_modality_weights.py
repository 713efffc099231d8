"""How much a modality counts, from the validation score of its block."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lego_core.modality_weights import weights_from_scores

SCORES = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), min_size=1, max_size=8)


def test_a_weight_is_the_score_beyond_chance_and_a_tenth() -> None:
    weights = weights_from_scores({"rna": 0.62, "clinical": 0.9, "image": 0.5}, chance=0.5)

    assert weights == pytest.approx({"rna": 0.22, "clinical": 0.5, "image": 0.1})


@pytest.mark.parametrize("score", [0.0, 0.3, 0.4999])
def test_a_block_below_chance_counts_as_one_at_chance(score: float) -> None:
    assert weights_from_scores({"a": score, "b": 0.5}, chance=0.5) == {"a": 0.1, "b": 0.1}


def test_chance_is_what_the_task_says() -> None:
    assert weights_from_scores({"a": 0.5}, chance=0.2) == pytest.approx({"a": 0.4})


@given(names=st.lists(st.text(max_size=3), min_size=1, unique=True), score=st.floats(0, 1))
def test_equal_scores_give_equal_weights(names: list[str], score: float) -> None:
    weights = weights_from_scores(dict.fromkeys(names, score), chance=0.5)

    assert list(weights) == names
    assert len(set(weights.values())) == 1


@given(SCORES)
def test_a_better_score_never_weighs_less_and_nobody_is_silent(scores: dict[str, float]) -> None:
    weights = weights_from_scores(scores, chance=0.5)

    by_score = [weights[name] for name in sorted(scores, key=lambda name: scores[name])]
    assert by_score == sorted(by_score)
    assert by_score[0] >= 0.1
