"""The two pictures of studies: curves over an ordered condition, and rows with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulations.benchmarks.studies._results import StudyResults

COLOURS = ("#1f77b4", "#30343b", "#d1862b", "#2ca02c", "#8a5fb0", "#8a8f98")
INCHES_PER_ROW = 0.28
APART = 0.08  # between methods of one condition, so that intervals do not hide one another


def curves(
    results: StudyResults,
    *,
    along: str,
    panels: Mapping[str, Mapping[str, str]] | None = None,
    methods: Sequence[str] | None = None,
) -> Figure:
    """Every method over the conditions in their order, with its interval.

    Args:
        results: What to draw.
        along: What the axis of conditions means.
        panels: Titles of panels, each with its conditions and what stands below each; one panel
            of all conditions if not given.
        methods: Which; all if not given.
    """
    panels = panels or {"": {condition: condition for condition in results.conditions}}
    figure = Figure(figsize=(2.6 + 4.0 * len(panels), 3.8), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, ticks) in zip(grid, panels.items(), strict=True):
        for number, method in enumerate(methods or results.methods):
            colour = COLOURS[number % len(COLOURS)]
            _curve(axes, results, method, list(ticks), colour=colour, number=number, label=method)
        axes.set_xticks(range(len(ticks)), list(ticks.values()))
        axes.set_xlabel(along)
        axes.set_title(title, loc="left", fontsize=9)
        _plain(axes, grid="y")
    grid[0].set_ylabel(_unit(results))
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(_title(results), x=0.01, ha="left", fontsize=9)
    return figure


def side_by_side(
    results: StudyResults,
    *,
    along: str,
    conditions: Sequence[str],
    panels: Mapping[str, Mapping[str, str]],
) -> Figure:
    """Different numbers over the same conditions, each with an axis of its own.

    Args:
        results: What to draw.
        along: What the axis of conditions means.
        conditions: Which, in their order.
        panels: What each panel's axis shows, and its methods with what the legend calls them.
    """
    figure = Figure(figsize=(2.6 + 2.9 * len(panels), 3.4), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (shown, methods) in zip(grid, panels.items(), strict=True):
        for number, (method, label) in enumerate(methods.items()):
            _curve(axes, results, method, conditions, colour=COLOURS[number], number=number, label=label)
        axes.set_xticks(range(len(conditions)), list(conditions))
        axes.set_xlabel(along)
        axes.set_ylabel(shown, fontsize=8)
        axes.margins(y=0.1)
        _plain(axes, grid="y")
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(_title(results), x=0.01, ha="left", fontsize=9)
    return figure


def rows(results: StudyResults) -> Figure:
    """Every arm with its interval, one below the other, condition by condition."""
    known = [row for row in results.rows if row.mean is not None]
    figure = Figure(figsize=(7.5, 1.4 + INCHES_PER_ROW * len(known)), layout="constrained")
    axes = figure.add_subplot()
    colour_of = {m: COLOURS[i % len(COLOURS)] for i, m in enumerate(results.methods)}
    for place, row in enumerate(known):
        colour = colour_of[row.method]
        if row.ci95 is not None:
            axes.plot(row.ci95, [place, place], color=colour, linewidth=1.6)
        if row.mean is not None:
            axes.plot([row.mean], [place], "o", color=colour, markersize=5)
        if place and row.condition != known[place - 1].condition:
            axes.axhline(place - 0.5, color="#cccccc", linewidth=0.6)
    axes.set_yticks(range(len(known)), [f"{row.condition}: {row.method}" for row in known])
    axes.margins(y=0.5 / max(len(known), 1))
    axes.invert_yaxis()
    axes.set_xlabel(f"{_unit(results)}, 95 % interval")
    figure.suptitle(_title(results), x=0.01, ha="left", fontsize=9)
    _plain(axes, grid="x")
    return figure


def save_figure(figure: Figure, path: Path, *, salt: str) -> None:
    """Write a figure as SVG, the same bytes for the same numbers."""
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _curve(
    axes: Axes,
    results: StudyResults,
    method: str,
    conditions: Sequence[str],
    *,
    colour: str,
    number: int,
    label: str,
) -> None:
    found = [(index, results.row(condition, method)) for index, condition in enumerate(conditions)]
    points = [(index, row) for index, row in found if row is not None and row.mean is not None]
    if not points:
        return
    at = [index + APART * number for index, _ in points]
    axes.plot(at, [row.mean or 0.0 for _, row in points], "o-", color=colour, markersize=4, label=label)
    for x, (_, row) in zip(at, points, strict=True):
        if row.ci95 is not None:
            axes.plot([x, x], row.ci95, color=colour, linewidth=1.2)


def _unit(results: StudyResults) -> str:
    return ", ".join(dict.fromkeys(row.unit for row in results.rows))


def _title(results: StudyResults) -> str:
    quick = " (a quick look only)" if results.quick else ""
    return f"{results.question}\n{results.dataset}{quick}"


def _plain(axes: Axes, *, grid: Literal["x", "y"]) -> None:
    axes.grid(axis=grid, linewidth=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
