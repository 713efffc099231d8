"""The tables of a study, as Markdown and for a terminal."""

from rich.table import Table
from rich.text import Text

from simulations.benchmarks.results import Gain
from simulations.benchmarks.studies._results import Compared, Row, StudyResults

HEADINGS = ("condition", "method", "mean", "95 % interval", "trials")
COMPARED = ("what", "than", "where", "difference", "95 % interval", "")
QUICK = "A quick look: few trials, little training. Do not quote it."


def markdown(results: StudyResults) -> str:
    """Question, sentence and both tables, with a line on how they were made."""
    lines = [f"### {results.question}", "", f"**{results.sentence}**", ""]
    lines += [
        f"Study `{results.study}`, {results.dataset}, {results.metric}. {results.how}",
        "",
        results.protocol,
    ]
    lines += [f"**{QUICK}**"] if results.quick else []
    lines += ["", *_table(HEADINGS, [_cells(row) for row in results.rows], words=2)]
    lines += ["", *_table(COMPARED, [_compared(one) for one in results.comparisons], words=3)]
    lines += ["", *(f"- {note}" for note in results.notes)]
    return "\n".join([*lines, "", f"`{results.command}`, {results.date}", ""])


def terminal(results: StudyResults) -> Table:
    """The rows for a terminal."""
    title = f"{results.study}, {results.dataset}: {results.metric}"
    quick = ", a quick look only" if results.quick else ""
    table = Table(title=title + quick, title_justify="left", box=None)
    for index, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if index > 1 else "left", no_wrap=True)
    for row in results.rows:
        table.add_row(*(Text(cell) for cell in _cells(row)))
    return table


def _cells(row: Row) -> list[str]:
    interval = "" if row.ci95 is None else f"{_number(row.ci95[0])} to {_number(row.ci95[1])}"
    mean = "failed" if row.mean is None else _number(row.mean)
    return [row.condition, row.method, mean, interval, str(row.trials)]


def _compared(one: Compared) -> list[str]:
    gain: Gain | None = one.gain
    if gain is None:
        return [one.what, one.than, one.where, "", "", "not judged"]
    interval = f"{gain.ci95[0]:+.3f} to {gain.ci95[1]:+.3f}"
    return [one.what, one.than, one.where, f"{gain.mean:+.3f}", interval, gain.verdict]


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _table(headings: tuple[str, ...], rows: list[list[str]], *, words: int) -> list[str]:
    rule = ["---" if index < words else "---:" for index in range(len(headings))]
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *rows)]
