"""The table and the figure of an examination."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.table import Table
from rich.text import Text

from lego_core.run_report import Examined
from simulations.benchmarks.document import FIGURES, without_paths
from simulations.benchmarks.privacy.findings import GATE, PrivacyResults
from simulations.benchmarks.store import write_whole

HEADINGS = (
    "plan",
    "model or update",
    "attack",
    "measure",
    "value",
    "95 % interval",
    "chance",
    "claimed epsilon",
)
HEAD = """# What do the models give away?

Written by `python -m simulations bench document` from finished examinations, not by hand.
[README](README.md#what-the-models-give-away) says how the attacks work. *Better than chance* is said
where the 95 % interval excludes chance.
"""
COLOURS = ("#b23b3b", "#d1862b", "#1f77b4", "#2ca02c", "#6a4c93")


def markdown(results: PrivacyResults) -> str:
    """The findings, how it was done, how well the models predict, and every attack."""
    lines = [f"### The models of `{results.dataset}`, attacked", "", results.protocol, ""]
    if results.quick:
        lines += ["**A quick look: few models, little training. Do not quote it.**", ""]
    lines += [*(f"- {finding}" for finding in results.findings), ""]
    lines += [f"{results.metric} on patients who trained none of the models, mean over all trainings:", ""]
    models = list(next(iter(results.utility.values())))
    lines += [_row(("plan", *models)), _row(["---", *("---:" for _ in models)])]
    lines += [_row((plan, *(f"{each[m]:.3f}" for m in models))) for plan, each in results.utility.items()]
    lines += ["", _row(HEADINGS), _row(["---"] * 4 + ["---:"] * 4)]
    lines += [_row((one.plan, *_cells(one))) for one in results.rows]
    lines += ["", *(f"- {note}" for note in results.notes), "", f"`{results.command}`, {results.date}", ""]
    return "\n".join(lines)


def terminal(results: PrivacyResults) -> Table:
    """The same for a terminal; what does better than chance stands out."""
    table = Table(title=f"{results.dataset}, attacked", title_justify="left", box=None)
    for index, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if index >= 4 else "left")
    last = ""
    for row in results.rows:
        plan, last = (row.plan if row.plan != last else ""), row.plan
        table.add_row(*(Text(cell) for cell in (plan, *_cells(row))), style="bold" if row.leaks else "")
    return table


def draw(results: PrivacyResults, path: Path) -> None:
    """Write three pictures side by side: membership, inversion, epsilon."""
    with mpl.rc_context({"svg.hashsalt": results.dataset, "font.size": 8}):
        figure = Figure(figsize=(13, 5.2), layout="constrained")
        membership, inversion, epsilon = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
        plans = list(dict.fromkeys(row.plan for row in results.rows))
        colours: dict[str, str] = dict(zip(plans, COLOURS, strict=False))
        _intervals(membership, [row for row in results.rows if row.measure == "AUC"], colours)
        membership.axvline(GATE, color="black", linestyle=":", linewidth=0.8)
        membership.set_title(f"Who trained it? AUC; gate at {GATE}", loc="left")
        _intervals(inversion, [row for row in results.rows if row.attack == "inversion"], colours)
        inversion.set_title("What did they look like? Cosine; × strangers", loc="left")
        _epsilons(epsilon, [row for row in results.rows if row.attack == "canaries"], colours)
        handles = [Line2D([], [], color=colours[plan], marker="o", label=plan) for plan in plans]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(plans), frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def write_privacy_document(finished: Sequence[Path], *, folder: Path) -> None:
    """Write `PRIVACY.md` and its figures from finished examinations."""
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    lines = [HEAD]
    for each in finished:
        figure = f"{FIGURES}/privacy-{each.name}.svg"
        shutil.copyfile(each / "figure.svg", folder / figure)
        table = without_paths((each / "table.md").read_text(encoding="utf-8"))
        lines += [table, f"![What attacks come to]({figure})", ""]
    write_whole(folder / "PRIVACY.md", "\n".join(lines).rstrip() + "\n")


def _intervals(axes: Axes, rows: Sequence[Examined], colours: dict[str, str]) -> None:
    """A line per model and attack, a colour per plan; a cross where chance is."""
    names = list(dict.fromkeys(_name(row) for row in rows))
    plans = list(dict.fromkeys(row.plan for row in rows))
    for row in rows:
        if row.low is None or row.high is None:
            continue
        place = names.index(_name(row)) + 0.16 * (plans.index(row.plan) - (len(plans) - 1) / 2)
        axes.plot([row.low, row.high], [place, place], color=colours[row.plan], linewidth=1.4)
        axes.plot([row.value], [place], "o", color=colours[row.plan], markersize=3.5)
        axes.plot([row.chance], [place], "x", color=colours[row.plan], markersize=3)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    _plain(axes)


def _epsilons(axes: Axes, rows: Sequence[Examined], colours: dict[str, str]) -> None:
    """The least epsilon that canaries leave, and the one that is claimed."""
    for place, row in enumerate(rows):
        axes.barh([place], [row.value], height=0.4, color=colours[row.plan])
        if row.claimed is not None:
            axes.plot([row.claimed], [place], "|", color="black", markersize=16)
    axes.set_yticks(range(len(rows)), [row.plan for row in rows])
    axes.invert_yaxis()
    axes.set_title("Epsilon: least (bar), claimed (line)", loc="left")
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(axis="x", linewidth=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _name(row: Examined) -> str:
    return row.model if row.attack == "inversion" else f"{row.model}, {row.attack}"


def _cells(row: Examined) -> Iterator[str]:
    yield from (row.model, row.attack, row.measure)
    yield f"{row.value:.3f}"
    yield "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"
    yield f"{row.chance:.3f}"
    yield "" if row.claimed is None else f"{row.claimed:.2f}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
