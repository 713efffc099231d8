"""What the sentence of a study may say."""

import pytest

from simulations.benchmarks.results import Gain, Verdict
from simulations.benchmarks.studies._results import Compared
from simulations.benchmarks.studies._words import sentences


def compared(verdict: Verdict | None, *, where: str = "", what: str = "the merge") -> Compared:
    bounds = {"above": (0.001, 0.03), "below": (-0.03, -0.001), "no difference": (-0.01, 0.02)}
    gain = verdict and Gain(mean=sum(bounds[verdict]) / 2, ci95=bounds[verdict], verdict=verdict)
    return Compared(what=what, than="the ensemble", where=where, gain=gain or None)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("above", "The merge is above the ensemble (+0.015, +0.001 to +0.030)."),
        ("below", "The merge is below the ensemble (-0.015, -0.030 to -0.001)."),
        ("no difference", "No difference between the merge and the ensemble (+0.005, -0.010 to +0.020)."),
        (None, "The merge against the ensemble could not be judged."),
    ],
)
def test_one_comparison_is_one_sentence(verdict: Verdict | None, said: str) -> None:
    assert sentences([compared(verdict)]) == said


def test_the_same_question_under_several_conditions_is_one_sentence() -> None:
    asked: list[Verdict | None] = ["no difference", "above", "no difference", None]

    said = sentences([compared(verdict, where=f"at {index}") for index, verdict in enumerate(asked)])

    assert said == (
        "The merge against the ensemble: above at 1 (+0.015, +0.001 to +0.030); no difference at 0 (+0.005, "
        "-0.010 to +0.020) and at 2 (+0.005, -0.010 to +0.020); not judged at 3."
    )


def test_different_questions_are_different_sentences() -> None:
    said = sentences([compared("above"), compared("below", what="the mean")])

    assert said == (
        "The merge is above the ensemble (+0.015, +0.001 to +0.030). The mean is below the ensemble (-0.015, "
        "-0.030 to -0.001)."
    )


def test_nothing_measured_is_said_so() -> None:
    assert sentences([]) == "Nothing could be compared."


@pytest.mark.parametrize(
    ("ci95", "said"),
    [
        ((-0.004, 0.006), "within 0.01"),
        ((-0.004, 0.016), "not shown to be within 0.01"),
        ((-0.012, -0.002), "not shown to be within 0.01"),
        ((-0.009, -0.001), "within 0.01"),
    ],
)
def test_a_sentence_says_whether_a_difference_is_within_a_margin(
    ci95: tuple[float, float], said: str
) -> None:
    verdict: Verdict = "below" if ci95[1] < 0 else "no difference"
    gain = Gain(mean=sum(ci95) / 2, ci95=ci95, verdict=verdict)
    for where in ("", "for all"):
        one = Compared(what="this", than="that", where=where, gain=gain, margin=0.01)
        assert f", {said})" in sentences([one])
    assert "within" not in sentences([Compared(what="this", than="that", gain=gain)])
