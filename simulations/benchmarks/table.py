"""The table of a benchmark, as Markdown and for a terminal."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from simulations.benchmarks.results import Gain, MethodResult, Results

HEADINGS = (
    "method",
    "mean",
    "95 % interval",
    "gain over best block",
    "gain over ensemble",
    "sd",
    "seconds",
    "weights",
)
COLUMNS_AT_WIDTH = {165: len(HEADINGS), 105: 4, 0: 3}  # in a terminal of at least this width
FAMILIES = {
    "block": "Blocks, one modality each",
    "best-block": "What needs no merging",
    "merge": "Merged, no training",
    "fuse": "Fused, two epochs on paired patients",
    "baseline": "End-to-end on pooled, paired patients",
}


def markdown(results: Results) -> str:
    """The table with a line on how it was made, and what went wrong."""
    lines = [f"### {results.dataset}: {results.metric}", "", results.protocol]
    if results.quick:
        lines.append("**A quick look: few trials, little training. Do not quote it.**")
    lines += ["", _row(HEADINGS), _row(["---", *("---:" for _ in HEADINGS[1:])])]
    for family, rows in grouped(results):
        lines.append(_row([f"*{FAMILIES[family]}*", *("" for _ in HEADINGS[1:])]))
        lines += [_row(cells(name, row, results)) for name, row in rows]
    lines += ["", *(f"- {line}" for line in remarks(results))]
    lines += ["", f"`{results.command}`, {results.date}", ""]
    return "\n".join(lines)


def terminal(results: Results, *, width: int) -> Table:
    """The table for a terminal; a narrow one gets the first columns only."""
    quick = ", a quick look only" if results.quick else ""
    columns = next(columns for least, columns in COLUMNS_AT_WIDTH.items() if width >= least)
    table = Table(title=f"{results.dataset}: {results.metric}{quick}", title_justify="left", box=None)
    for index, heading in enumerate(HEADINGS[:columns]):
        table.add_column(heading, justify="right" if index else "left", no_wrap=True)
    for _, rows in grouped(results):
        for name, row in rows:
            table.add_row(*(Text(cell) for cell in cells(name, row, results)[:columns]))
        table.add_row()
    return table


def grouped(results: Results) -> Iterator[tuple[str, list[tuple[str, MethodResult]]]]:
    """The methods, family by family."""
    for family in FAMILIES:
        rows = [(name, row) for name, row in results.methods.items() if family_of(name) == family]
        if rows:
            yield family, rows


def family_of(method: str) -> str:
    """What a method belongs to; the ensemble stands beside the best block."""
    family = method.partition(":")[0]
    return "best-block" if family == "ensemble" else family


def cells(name: str, row: MethodResult, results: Results) -> list[str]:
    """One row of the table."""
    default = " (the plan's)" if name == results.default_rule else ""
    if row.mean is None or row.ci95 is None or row.seconds is None:
        return [name + default, "not scored" if row.trials else "failed", *("" for _ in HEADINGS[2:])]
    partly = f" ({row.trials} of {row.trials + len(row.failed)} trials)" if row.failed else ""
    return [
        name + default + partly,
        f"{row.mean:.3f}",
        f"{row.ci95[0]:.3f} to {row.ci95[1]:.3f}",
        _gain(row.gain_over_best_block),
        _gain(row.gain_over_ensemble),
        "" if row.sd is None else f"{row.sd:.3f}",
        f"{row.seconds:.1f}",
        f"{row.parameters:,}",
    ]


def remarks(results: Results) -> Iterator[str]:
    """What the numbers do not tell: which block was chosen, what was left out or not scored, what failed."""
    yield from results.notes
    for name, row in results.methods.items():
        if row.chosen:
            chosen = ", ".join(f"{modality} in {count}" for modality, count in row.chosen.items())
            yield f"{name}: validation chose {chosen} of {row.trials} trials."
        if row.mean is None and row.trials:
            yield f"{name} is not scored: in no trial can two of its {row.patients} patients be compared."
        reasons = [line.partition(": ")[2] for line in row.failed]
        for reason in dict.fromkeys(reasons):
            trials = row.trials + len(row.failed)
            yield f"{name} failed in {reasons.count(reason)} of {trials} trials: {reason}"


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return ""
    return f"{gain.mean:+.3f} ({gain.ci95[0]:+.3f} to {gain.ci95[1]:+.3f}), {gain.verdict}"


def _row(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"
