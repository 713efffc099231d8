"""The result of a run for a terminal: renderables of rich, printed by whoever asks for them."""

from rich.table import Table
from rich.text import Text

from lego_core.report import words
from lego_core.report._tables import result_rows
from lego_core.run_report import RunReport

STATUS_STYLES = {"complete": "bold green", "complete-with-absences": "bold yellow", "failed": "bold red"}


def result_table(report: RunReport) -> Table:
    """Each block, the best one marked, then the ensemble, the merge and the fused model."""
    metric = report.results.metric if report.results else "score"
    table = Table(
        title=_text(f"Results of {report.plan}"), caption=_text(words.POOLED_NOTE), title_justify="left"
    )
    table.add_column("Model")
    for heading in (metric, "95 % interval", "gain over best block", "patients", "pairs", "sites"):
        table.add_column(_text(heading), justify="right")
    for row in result_rows(report):
        name = _text(f"{row.name} (best block)" if row.is_best_block else row.name)
        numbers = (row.value, row.interval, row.gain, row.patients, row.pairs, row.sites)
        style = "bold" if row.is_best_block else ""
        table.add_row(name, *(_text(number) for number in numbers), style=style)
    return table


def summary_lines(report: RunReport) -> list[Text]:
    """What came of the run, whether anybody was missing, and what was private, line by line."""
    status = Text.assemble(
        (words.status_words(report), STATUS_STYLES.get(report.status, "bold")),
        _text(
            f": {words.count_of(len(report.sites), 'site')}, {words.duration(report.seconds)}. "
            f"{words.resumed(report)}".rstrip()
        ),
    )
    style = "bold red" if report.privacy_kind == "no-privacy" else "bold"
    claim = f". {report.privacy_claim} {words.privacy_spent(report)}".rstrip()
    privacy = Text.assemble((_shown(words.privacy_title(report)), style), _text(claim))
    said = [_text(sentence) for sentence in (words.headline(report), *words.comparisons(report))]
    missing = [
        _text(f"Left out: {one.site} ({words.left_out_when(one)}). {words.as_sentence(one.reason)}")
        for one in report.left_out
    ]
    return [*said, *_advice(report), status, *missing, privacy]


def _advice(report: RunReport) -> list[Text]:
    """Which model to use, what came of it, and whether the forecast was right."""
    advice, back = report.recommendation, report.hindsight
    lines = [Text(_shown(advice.sentence), "bold"), _text(advice.afterwards)] if advice else []
    return [line for line in [*lines, _text(back.sentence if back else "")] if line.plain]


def _text(text: str) -> Text:
    """A text as it is: no markup, no codes that steer a terminal."""
    return Text(_shown(text))


def _shown(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)
