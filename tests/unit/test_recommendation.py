"""What a run recommends: what validation shows, and a block where it shows nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lego_core.evaluation import EvaluationReport, PooledScore
from lego_core.recommendation import Recommendation, recommend


def score(
    method: str, modalities: str, value: float, interval: tuple[float, float] = (0.0, 0.0), *,
    base: float = 0.70, count: int = 120, pairs: float = 900.0,
) -> PooledScore:  # fmt: skip
    """A score on complete patients; the best block reaches `base` on them."""
    low, high = interval
    return PooledScore.model_validate(
        {
            "method": method, "modalities": tuple(modalities), "patients": "complete", "value": value,
            "low": value - 0.05, "high": value + 0.05, "count": count, "pairs": pairs, "sites": ("north",),
            "gain": value - base, "gain_low": low, "gain_high": high,
        }
    )  # fmt: skip


BLOCKS = (score("block", "a", 0.70), score("block", "b", 0.66, (-0.09, 0.02)))


def results(
    *validation: PooledScore, test: tuple[PooledScore, ...] = (), withheld: int = 0
) -> EvaluationReport:
    return EvaluationReport(
        metric="C-index", best_block="a", scores=test, withheld=0, validation=validation,
        validation_withheld=withheld,
    )  # fmt: skip


def advice(*validation: PooledScore, **more: object) -> Recommendation:
    return recommend(results(*validation, **more), modalities=("a", "b"))  # type: ignore[arg-type]


# ---- merging pays -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ensemble", "merge", "fuse"])
def test_what_does_best_and_gains_for_sure_is_recommended(method):
    others = [score(one, "ab", 0.72, (0.01, 0.03)) for one in ("ensemble", "merge", "fuse") if one != method]

    chosen = advice(*BLOCKS, *others, score(method, "ab", 0.731, (0.008, 0.053)))

    assert (chosen.method, chosen.modality, chosen.candidate) == (method, "", method)
    assert chosen.gain is not None
    assert (chosen.gain.value, chosen.gain.low, chosen.gain.high) == (pytest.approx(0.031), 0.008, 0.053)
    assert chosen.gain.patients == 120


def test_reason_names_patients_gain_interval_and_best_block():
    assert advice(*BLOCKS, score("merge", "ab", 0.731, (0.008, 0.053))).sentence == (
        "Recommended: the merged model. On 120 validation patients with every modality it gains +0.031 "
        "(+0.008 to +0.053) over the best block, a."
    )


# ---- merging does not pay -----------------------------------------------------------------------


def test_gain_whose_interval_holds_zero_is_no_reason_to_merge():
    chosen = advice(*BLOCKS, score("merge", "ab", 0.704, (-0.02, 0.03)), score("ensemble", "ab", 0.69))

    assert (chosen.method, chosen.modality, chosen.candidate) == ("block", "a", "merge")
    assert chosen.sentence == (
        "Recommended: the best block, a. It cannot be shown that merging pays: on 120 validation patients "
        "with every modality the merged model, the best that sees all of them, gains +0.004 (-0.020 to "
        "+0.030) over it."
    )


def test_loss_says_that_merging_does_not_pay():
    chosen = advice(*BLOCKS, score("merge", "ab", 0.68, (-0.04, 0.01)))

    assert chosen.method == "block"
    assert "Merging does not pay here: on 120 validation patients" in chosen.sentence


@pytest.mark.parametrize("interval", [(0.0, 0.05), (-0.08, -0.01)])
def test_interval_must_lie_above_zero(interval):
    assert advice(*BLOCKS, score("merge", "ab", 0.72, interval)).method == "block"


def test_only_what_does_best_is_a_candidate():
    chosen = advice(
        *BLOCKS, score("merge", "ab", 0.73, (-0.01, 0.07)), score("ensemble", "ab", 0.72, (0.01, 0.03))
    )

    assert (chosen.method, chosen.candidate) == ("block", "merge")


def test_merge_that_another_block_outdoes_on_the_same_patients_is_not_recommended():
    other = score("block", "b", 0.75, (0.02, 0.08))

    chosen = advice(BLOCKS[0], other, score("merge", "ab", 0.74, (0.01, 0.07)))

    assert (chosen.method, chosen.modality, chosen.candidate) == ("block", "b", "block")
    assert chosen.sentence == (
        "Recommended: the block b. Merging does not pay here: on 120 validation patients with every modality "
        "this block alone reaches 0.750, and the merged model 0.740."
    )


def test_merge_that_another_block_equals_on_the_same_patients_is_not_recommended():
    other = score("block", "b", 0.74, (0.01, 0.07))

    chosen = advice(BLOCKS[0], other, score("merge", "ab", 0.74, (0.01, 0.07)))

    assert (chosen.method, chosen.modality) == ("block", "b")


intervals = st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)).map(lambda two: tuple(sorted(two)))


@given(st.lists(st.tuples(st.floats(0, 1), intervals), min_size=3, max_size=3))
def test_merging_is_recommended_only_with_an_interval_above_zero_and_the_best_score(scored):
    rows = [
        score(method, "ab", value, interval)
        for method, (value, interval) in zip(("ensemble", "merge", "fuse"), scored, strict=True)
    ]

    chosen = advice(*BLOCKS, *rows)

    if chosen.method != "block":
        (row,) = [one for one in rows if one.method == chosen.method]
        assert row.gain_low > 0
        assert row.value == max(one.value for one in (*rows, *BLOCKS))
        assert chosen.modality == ""
    else:
        assert chosen.modality == "a"


# ---- nothing to go by -----------------------------------------------------------------------------


def test_without_complete_validation_patients_nothing_shows_that_merging_pays():
    chosen = advice(test=(score("block", "a", 0.7), score("merge", "ab", 0.9, (0.1, 0.3))))

    assert (chosen.method, chosen.modality, chosen.candidate, chosen.gain) == ("block", "a", None, None)
    assert (chosen.on_test, chosen.afterwards) == (None, "")
    assert chosen.sentence == (
        "Recommended: the best block, a. Nothing shows that merging pays: no site scored validation patients "
        "who have every modality. A hospital with some of them would change that."
    )


def test_too_few_validation_patients_are_told_apart_from_none():
    assert "are too few at every site to be scored. A hospital with more" in advice(withheld=4).sentence


def test_validation_patients_of_one_outcome_show_nothing():
    rows = [one.model_copy(update={"pairs": 0.0}) for one in BLOCKS]

    chosen = advice(*rows, score("merge", "ab", 0.9, (0.1, 0.3), pairs=0.0))

    assert (chosen.method, chosen.candidate) == ("block", None)
    assert "no two can be compared. More of them, with different outcomes" in chosen.sentence


def test_gain_that_was_not_taken_on_the_same_patients_shows_nothing():
    unpaired = score("merge", "ab", 0.9).model_copy(
        update={"gain": None, "gain_low": None, "gain_high": None}
    )

    assert advice(*BLOCKS, unpaired).candidate is None


def test_run_of_one_modality_recommends_its_block():
    chosen = recommend(results(), modalities=("a",))

    assert (chosen.method, chosen.modality) == ("block", "a")
    assert chosen.sentence.endswith("The run has one modality, so there is nothing to merge.")


# ---- afterwards -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "test", "verdict"),
    [
        ((0.01, 0.05), (0.01, 0.04), "the choice held"),
        ((0.01, 0.05), (-0.01, 0.04), "no difference can be claimed"),
        ((0.01, 0.05), (-0.04, -0.01), "the choice did not hold"),
        ((-0.01, 0.05), (0.01, 0.04), "it would have been the better choice"),
        ((-0.01, 0.05), (-0.01, 0.04), "no difference can be claimed"),
        ((-0.01, 0.05), (-0.04, -0.01), "the best block was the better choice"),
    ],
)
def test_choice_is_looked_at_afterwards_on_test(chosen, test, verdict):
    tested = score("merge", "ab", 0.72, test, count=69)

    said = advice(*BLOCKS, score("merge", "ab", 0.73, chosen), test=(tested,))

    assert said.on_test == tested.paired_gain
    assert said.afterwards.startswith(
        "Looked at afterwards, on 69 test patients with every modality: the merged"
    )
    assert said.afterwards.endswith(f"over the best block; {verdict}.")


@given(st.floats(-0.3, 0.3), intervals)
def test_test_patients_have_no_say(value, interval):
    validation = (*BLOCKS, score("merge", "ab", 0.73, (0.01, 0.05)))

    seen = advice(*validation, test=(score("merge", "ab", 0.7 + value, interval),))

    assert (seen.method, seen.sentence) == ("merge", advice(*validation).sentence)
