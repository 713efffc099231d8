import pytest

from lego_core.report.charts import learning_chart, mergeability_chart, result_chart, subset_chart
from lego_core.run_report import RunReport


def test_the_forest_has_a_mark_for_every_row_of_the_table(survival_report: RunReport) -> None:
    names = [trace.y[0] for trace in result_chart(survival_report).data]
    assert names == [
        "block clinical", "block imaging", "<b>block laboratory</b>",
        "probability ensemble", "LegoMerge", "LegoFuse",
    ]  # fmt: skip


def test_the_subset_matrix_has_every_subset(survival_report: RunReport) -> None:
    assert survival_report.results is not None
    (cells,) = subset_chart(survival_report.results, patients="complete").data
    assert len(cells.y) == 7
    assert list(cells.x) == ["block", "probability ensemble", "LegoMerge", "LegoFuse"]
    assert cells.z[0][1] is None
    assert "n = 174" in cells.text[6][2]


def test_a_validation_loss_stands_where_its_weights_were_made(survival_report: RunReport) -> None:
    lines = {trace.name: trace for trace in learning_chart(survival_report, modality="clinical").data}
    losses = [one.validation_loss for one in survival_report.rounds if one.modality == "clinical"]
    assert list(lines["validation, all sites"].x)[:2] == [0, 1]
    assert list(lines["kept"].y) == [min(loss for loss in losses if loss is not None)]


def test_a_round_that_was_kept_without_a_loss_is_still_marked(survival_report: RunReport) -> None:
    report = survival_report.model_copy(update={"kept_rounds": {"clinical": 13}})
    figure = learning_chart(report, modality="clinical")
    assert "kept" not in [trace.name for trace in figure.data]
    assert [(line.x0, line.x1) for line in figure.layout.shapes] == [(13, 13)]


def test_a_site_without_validation_patients_has_its_training_line_alone(survival_report: RunReport) -> None:
    lines = learning_chart(survival_report, modality="clinical").data
    south = [trace for trace in lines if trace.name == "south"]
    assert [len(trace.x) for trace in south] == [12, 0]


@pytest.mark.parametrize("measure", ["sign_dissimilarity", "l2_distance"])
def test_mergeability_is_symmetric_with_an_empty_diagonal(survival_report: RunReport, measure: str) -> None:
    (cells,) = mergeability_chart(survival_report, measure=measure).data
    assert [cells.z[n][n] for n in range(3)] == [None, None, None]
    assert cells.z[0][2] == cells.z[2][0]
