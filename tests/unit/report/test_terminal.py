from rich.console import Console, RenderableType

from lego_core.report import result_table, summary_lines
from lego_core.run_report import LeftOut, RunReport


def test_the_table_has_a_row_per_model_and_marks_the_best_block(survival_report: RunReport) -> None:
    table = result_table(survival_report)
    assert table.row_count == 6
    written = _written(table)
    assert "block laboratory (best block)" in written
    assert written.index("probability ensemble") < written.index("LegoMerge") < written.index("LegoFuse")
    assert "C-index" in written


def test_a_failed_run_has_an_empty_table(failed_report: RunReport) -> None:
    assert result_table(failed_report).row_count == 0


def test_the_summary_says_result_status_absences_and_privacy(survival_report: RunReport) -> None:
    lines = [line.plain for line in summary_lines(survival_report)]
    assert lines[0].startswith("The merged model reaches C-index")
    assert "Complete, with absences: 4 sites, 21 min 52 s." in lines
    assert "Left out: west (offer). Our board has not met yet." in lines
    assert survival_report.recommendation is not None
    assert survival_report.hindsight is not None
    assert lines[3:6] == [
        survival_report.recommendation.sentence,
        survival_report.recommendation.afterwards,
        survival_report.hindsight.sentence,
    ]
    assert lines[-1].startswith("This run was not private. No privacy protection beyond")


def test_a_failed_run_recommends_nothing(failed_report: RunReport) -> None:
    said = [line.plain for line in summary_lines(failed_report)]

    assert said
    assert not [line for line in said if "ecommend" in line]


def test_what_sites_wrote_does_not_steer_the_terminal(survival_report: RunReport) -> None:
    absence = LeftOut(site="west", phase="offer", round=0, reason="\x1b[2J[red]late[/red]")
    report = survival_report.model_copy(update={"left_out": (absence,)})
    lines = [line.plain for line in summary_lines(report)]
    assert "Left out: west (offer).  [2J[red]late[/red]." in lines


def _written(renderable: RenderableType) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()
