"""Charts of the whole run: one function per chart, from the report to a figure."""

from typing import Literal

import plotly.graph_objects as go

from lego_core.evaluation import EvaluationReport, Method, PooledScore
from lego_core.mergeability import Measure
from lego_core.report._style import (
    INK,
    LOW_TO_HIGH,
    METHOD_COLOURS,
    MUTED,
    NEAR_TO_FAR,
    colour_of,
    label,
    styled,
)
from lego_core.report.words import METHOD_NAMES, METHODS, headline_scores, model_name, with_interval
from lego_core.run_report import RunReport


def result_chart(report: RunReport) -> go.Figure:
    """Value and interval of every row of the result table (a forest plot)."""
    scores = headline_scores(report)
    best = report.results.best_block if report.results else ""
    figure = go.Figure()
    for score in scores:
        is_best = score.method == "block" and score.modalities == (best,)
        figure.add_trace(_interval_mark(score, is_best=is_best))
        if is_best:
            figure.add_vline(x=score.value, line={"color": MUTED, "width": 1, "dash": "dot"}, layer="below")
    figure.update_layout(showlegend=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title={"text": label(report.results.metric if report.results else "")})
    return styled(figure, height=90 + 38 * len(scores))


def subset_chart(results: EvaluationReport, *, patients: Literal["complete", "holding"]) -> go.Figure:
    """Every subset of modalities by every model: value and number of patients."""
    scores = [score for score in results.scores if score.patients == patients]
    found = {(score.modalities, score.method): score for score in scores}
    subsets = sorted({score.modalities for score in scores}, key=lambda subset: (len(subset), subset))
    methods: list[Method] = [method for method in METHODS if method in {score.method for score in scores}]
    cells = [[found.get((subset, method)) for method in methods] for subset in subsets]
    figure = go.Figure(
        go.Heatmap(
            x=[METHOD_NAMES[method] for method in methods],
            y=[label(" + ".join(subset)) for subset in subsets],
            z=[[cell.value if cell else None for cell in row] for row in cells],
            text=[[_cell_text(cell) for cell in row] for row in cells],
            customdata=[[_cell_hover(cell) for cell in row] for row in cells],
            texttemplate="%{text}",
            textfont={"color": INK},
            hovertemplate="%{customdata}<extra></extra>",
            hoverongaps=False,
            colorscale=LOW_TO_HIGH,
            xgap=3,
            ygap=3,
            showscale=False,
        )
    )
    figure.update_xaxes(side="top", showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return styled(figure, height=70 + 46 * len(subsets))


def learning_chart(report: RunReport, *, modality: str) -> go.Figure:
    """Losses of one block, or of the fused model, over the rounds.

    A validation loss is one of the weights that a round started from, so it stands at the
    end of the round before.
    """
    figure = go.Figure()
    points = [point for point in report.learning if point.modality == modality]
    everybody = sorted({point.site for point in report.learning})
    for site in sorted({point.site for point in points}):
        own = sorted((point for point in points if point.site == site), key=lambda point: point.round)
        line = {"color": colour_of(everybody.index(site)), "width": 1.5}
        name, shared = label(site), {"legendgroup": label(site), "opacity": 0.75}
        figure.add_scatter(
            x=[point.round for point in own if point.train_loss is not None],
            y=[point.train_loss for point in own if point.train_loss is not None],
            name=name,
            mode="lines+markers",
            line=line,
            marker={"size": 4},
            hovertemplate=f"{name}, training, round %{{x}}: %{{y:.3f}}<extra></extra>",
            **shared,
        )
        figure.add_scatter(
            x=[point.round - 1 for point in own if point.validation_loss is not None],
            y=[point.validation_loss for point in own if point.validation_loss is not None],
            name=name,
            showlegend=False,
            mode="lines",
            line={**line, "width": 1.3, "dash": "dot"},
            hovertemplate=f"{name}, validation, after round %{{x}}: %{{y:.3f}}<extra></extra>",
            **shared,
        )
    _add_federated_loss(figure, report, modality)
    figure.update_xaxes(
        title={"text": "round"},
        rangemode="tozero",
        dtick=1 if max((point.round for point in points), default=0) < 9 else None,
    )
    figure.update_yaxes(title={"text": "mean loss"})
    return styled(figure, height=340)


def mergeability_chart(report: RunReport, *, measure: Measure) -> go.Figure:
    """How far every two blocks lie apart, by one measure."""
    pairs = report.mergeability
    names = sorted({name for pair in pairs for name in (pair.first, pair.second)})
    apart = {frozenset((pair.first, pair.second)): getattr(pair.forecast, measure) for pair in pairs}
    distances = [[apart.get(frozenset((row, column))) for column in names] for row in names]
    figure = go.Figure(
        go.Heatmap(
            x=[label(name) for name in names],
            y=[label(name) for name in names],
            z=distances,
            texttemplate="%{z:.2f}",
            textfont={"color": INK},
            hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>",
            hoverongaps=False,
            colorscale=NEAR_TO_FAR,
            zmin=0,
            zmax=max(apart.values(), default=1) if measure == "l2_distance" else 1,
            xgap=3,
            ygap=3,
            showscale=False,
        )
    )
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return styled(figure, height=90 + 56 * len(names))


def _interval_mark(score: PooledScore, *, is_best: bool) -> go.Scatter:
    name = label(model_name(score.method, score.modalities))
    text = f"{name}: {with_interval(score.value, score.low, score.high)}"
    colour = INK if is_best else METHOD_COLOURS[score.method]
    return go.Scatter(
        x=[score.value],
        y=[f"<b>{name}</b>" if is_best else name],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [score.high - score.value],
            "arrayminus": [score.value - score.low],
            "color": colour,
            "thickness": 2,
            "width": 5,
        },
        mode="markers",
        marker={"size": 12, "color": colour, "symbol": "square" if score.method == "block" else "diamond"},
        hovertemplate=f"{text}<extra></extra>",
    )


def _cell_text(cell: PooledScore | None) -> str:
    return f"{cell.value:.3f}<br>n = {cell.count:,}" if cell else ""


def _cell_hover(cell: PooledScore | None) -> str:
    if cell is None:
        return ""
    seen = label(" + ".join(cell.modalities))
    value = with_interval(cell.value, cell.low, cell.high)
    return f"{METHOD_NAMES[cell.method]}, {seen}: {value}<br>{cell.count:,} patients, {len(cell.sites)} sites"


def _add_federated_loss(figure: go.Figure, report: RunReport, modality: str) -> None:
    rounds = sorted((r for r in report.rounds if r.modality == modality), key=lambda r: r.round)
    losses = {r.round - 1: r.validation_loss for r in rounds if r.validation_loss is not None}
    figure.add_scatter(
        x=list(losses),
        y=list(losses.values()),
        name="validation, all sites",
        mode="lines",
        line={"color": INK, "width": 3},
        hovertemplate="all sites, validation, after round %{x}: %{y:.3f}<extra></extra>",
    )
    kept = report.kept_rounds.get(modality)
    if kept is None:
        return
    line = {"color": INK, "width": 1, "dash": "dash"}
    figure.add_vline(x=kept, line=line, annotation={"text": "kept", "font": {"size": 12, "color": MUTED}})
    if kept in losses:
        figure.add_scatter(
            x=[kept],
            y=[losses[kept]],
            name="kept",
            showlegend=False,
            mode="markers",
            marker={"size": 13, "symbol": "star", "color": "#c8553d", "line": {"color": "white", "width": 1}},
            hovertemplate=f"kept: the weights after round {kept}<extra></extra>",
        )
