"""The figure of a benchmark: every method with its interval, one below the other."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from simulations.benchmarks.results import Results
from simulations.benchmarks.table import family_of, grouped

COLOURS = {
    "block": "#8a8f98",
    "best-block": "#30343b",
    "merge": "#1f77b4",
    "fuse": "#2ca02c",
    "baseline": "#d1862b",
}
INCHES_PER_ROW = 0.28


def draw_forest(results: Results, path: Path) -> None:
    """Write the figure as SVG; the dashed line is the best block."""
    rows = [pair for _, group in grouped(results) for pair in group if pair[1].ci95 is not None]
    with mpl.rc_context({"svg.hashsalt": results.dataset, "font.size": 9}):
        figure = Figure(figsize=(7.5, 1.4 + INCHES_PER_ROW * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, (name, row) in enumerate(rows):
            if row.mean is None or row.ci95 is None:
                continue
            low, high = row.ci95
            axes.plot([low, high], [place, place], color=COLOURS[family_of(name)], linewidth=1.6)
            axes.plot([row.mean], [place], "o", color=COLOURS[family_of(name)], markersize=5)
        best = results.methods.get("best-block")
        if best is not None and best.mean is not None:
            axes.axvline(best.mean, color=COLOURS["best-block"], linestyle="--", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.invert_yaxis()
        axes.set_xlabel(f"{results.metric}, 95 % interval over patients")
        quick = " (a quick look only)" if results.quick else ""
        axes.set_title(f"{results.dataset}{quick}", loc="left")
        axes.grid(axis="x", linewidth=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None})
