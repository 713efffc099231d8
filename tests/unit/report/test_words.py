import pytest
import sample_reports
from hypothesis import given
from hypothesis import strategies as st

from lego_core._wording import signed
from lego_core.report import headline
from lego_core.report._tables import result_rows
from lego_core.report.words import comparisons, duration, left_out_when, paired_gain
from lego_core.run_report import LeftOut, RunReport


def test_a_difference_that_includes_zero_claims_nothing(survival_report: RunReport) -> None:
    report = sample_reports.with_gain(survival_report, gain=0.02, low=-0.01, high=0.05)
    assert headline(report).endswith(
        "The difference, +0.020 (-0.010 to +0.050), does not exclude zero, so no difference can be claimed."
    )


def test_a_difference_above_zero_is_called_above(survival_report: RunReport) -> None:
    report = sample_reports.with_gain(survival_report, gain=0.04, low=0.01, high=0.07)
    assert headline(report).endswith("excludes zero: it is above the best block.")


def test_a_difference_below_zero_is_called_below(survival_report: RunReport) -> None:
    report = sample_reports.with_gain(survival_report, gain=-0.04, low=-0.07, high=-0.01)
    assert headline(report).endswith("excludes zero: it is below the best block.")


def test_an_interval_that_ends_at_zero_claims_nothing(survival_report: RunReport) -> None:
    report = sample_reports.with_gain(survival_report, gain=0.04, low=0.0, high=0.07)
    assert "no difference can be claimed" in headline(report)


def test_the_headline_names_metric_patients_sites_and_best_block(survival_report: RunReport) -> None:
    said = headline(survival_report)
    assert said.startswith("The merged model reaches C-index 0.")
    assert "on 174 patients of 2 sites" in said
    assert "The best block alone, laboratory, reaches" in said


def test_without_comparable_pairs_nothing_is_claimed(survival_report: RunReport) -> None:
    results = survival_report.results
    assert results is not None
    scores = tuple(score.model_copy(update={"pairs": 0.0}) for score in results.scores)
    report = sample_reports.with_scores(survival_report, results.model_copy(update={"scores": scores}))

    assert headline(report).startswith("No model can be judged: of 174 patients of 2 sites no two can be")
    assert comparisons(report) == []
    assert {(row.value, row.interval, row.gain) for row in result_rows(report)} == {("–", "", "")}


def test_without_complete_patients_nothing_is_compared(survival_report: RunReport) -> None:
    report = _without_complete_patients(survival_report)
    assert "no difference can be claimed" in headline(report)
    assert all("not scored on the same patients" in sentence for sentence in comparisons(report))


def test_a_gain_on_other_patients_is_not_a_paired_gain(survival_report: RunReport) -> None:
    results = _without_complete_patients(survival_report).results
    assert results is not None
    assert all(paired_gain(score) is None for score in results.scores)


def test_a_run_of_one_modality_names_its_block(survival_report: RunReport) -> None:
    results = survival_report.results
    assert results is not None
    scores = tuple(score for score in results.scores if score.modalities == ("laboratory",))
    blocks = tuple(score for score in scores if score.method == "block")
    report = sample_reports.with_scores(survival_report, results.model_copy(update={"scores": blocks}))
    assert headline(report).startswith("The one block there is, laboratory, reaches C-index 0.")


def test_a_failed_run_says_why(failed_report: RunReport) -> None:
    assert headline(failed_report) == (
        "The run failed. Of 4 sites that were waited for, none came within 120 seconds."
    )
    assert comparisons(failed_report) == []


def test_a_run_without_results_says_so(survival_report: RunReport) -> None:
    report = sample_reports.with_scores(survival_report, None)
    assert headline(report).startswith("The run ended without results")


@pytest.mark.parametrize(
    ("value", "written"), [(0.02, "+0.020"), (-0.0004, "-0.0004"), (0.0, "0.000"), (0.00001, "+0.00001")]
)
def test_a_small_difference_is_not_written_as_zero(value: float, written: str) -> None:
    assert signed(value) == written


@given(st.floats(-1, 1).filter(lambda value: abs(value) > 1e-5))
def test_a_written_difference_keeps_its_sign(value: float) -> None:
    assert float(signed(value)) * value > 0


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(59.4, "59 s"), (61.0, "1 min 01 s"), (3599.6, "1 h 00 min"), (7384.0, "2 h 03 min")],
)
def test_a_time_span_has_two_units_at_most(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_an_absence_is_placed_in_the_run() -> None:
    absence = LeftOut(site="a", phase="blocks", round=4, modality="imaging", reason="late")
    assert left_out_when(absence) == "training of blocks, imaging, round 4"
    assert left_out_when(LeftOut(site="a", phase="offer", round=0, reason="late")) == "offer"


def _without_complete_patients(report: RunReport) -> RunReport:
    results = report.results
    if results is None:
        return report
    scores = tuple(score for score in results.scores if score.patients == "holding")
    return sample_reports.with_scores(report, results.model_copy(update={"scores": scores}))
