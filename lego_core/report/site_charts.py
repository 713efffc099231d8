"""Charts of one model at one site: one function per chart, from its points to a figure."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lego_core.report._points import BinaryPoints, CalibrationGroup, KaplanMeier, RiskGroup, SurvivalPoints
from lego_core.report._style import MUTED, RISK_COLOURS, colour_of, label, styled

DAYS_PER_YEAR = 365.25
NUM_AT_RISK = 7  # columns of the table of numbers at risk


def kaplan_meier_chart(points: SurvivalPoints) -> go.Figure:
    """Observed survival of the thirds of low, middle and high predicted risk, with numbers at risk."""
    curves = points.kaplan_meier
    per_unit, unit = _time_unit(curves)
    times = [day / per_unit for day in curves.days]
    last = max((time for group in curves.groups for time in _visible(times, group)), default=1.0)
    columns = _columns(times, last=last)
    figure = make_subplots(
        rows=2, shared_xaxes=True, row_heights=[0.8, 0.2], vertical_spacing=0.22,
        subplot_titles=("", "patients still followed"),
    )  # fmt: skip
    for position, group in enumerate(curves.groups):
        name, colour = label(group.name), RISK_COLOURS[position % len(RISK_COLOURS)]
        figure.add_scatter(
            x=times, y=group.survival, name=name, mode="lines", connectgaps=True,
            line={"color": colour, "width": 2.5, "shape": "hv"},
            hovertemplate=f"{name}, %{{x:.1f}} {unit}: %{{y:.0%}}<extra></extra>",
            row=1, col=1,
        )  # fmt: skip
        figure.add_scatter(
            x=[times[column] for column in columns], y=[name] * len(columns),
            text=[_count_at(group, column) for column in columns],
            mode="text", showlegend=False, hoverinfo="skip",
            textfont={"color": colour, "size": 12},
            row=2, col=1,
        )  # fmt: skip
    styled(figure, height=460)
    figure.update_annotations(font={"size": 13, "color": MUTED})
    figure.update_yaxes(title={"text": "without the event"}, range=[0, 1.02], tickformat=".0%", row=1)
    figure.update_yaxes(range=[len(curves.groups) - 0.4, -0.6], showgrid=False, row=2)
    figure.update_xaxes(range=[-0.04 * last, 1.04 * last])
    figure.update_xaxes(showticklabels=True, title={"text": f"{unit} since the start", "standoff": 4}, row=1)
    figure.update_xaxes(showticklabels=False, showgrid=False, row=2)
    return figure


def survival_calibration_chart(points: SurvivalPoints) -> go.Figure:
    """Predicted against observed survival, in groups of patients of like predictions."""
    figure = _square("predicted survival", "observed survival")
    _add_groups(figure, points.calibration.groups, name="patients of like predictions", colour=colour_of(0))
    figure.update_layout(showlegend=False)
    return figure


def roc_chart(points: BinaryPoints) -> go.Figure:
    """True against false positive rate, one curve per class."""
    figure = _square("false positive rate (1 - specificity)", "true positive rate (sensitivity)")
    for position, (name, one) in enumerate(points.shown.items()):
        area = "" if one.auroc is None else f", AUROC {one.auroc:.2f}"
        figure.add_scatter(
            x=one.roc.false_positive_rate,
            y=one.roc.true_positive_rate,
            name=f"{label(name)}{area}",
            mode="lines",
            line={"color": colour_of(position), "width": 2.5},
            hovertemplate=f"{label(name)}: %{{y:.0%}} found at %{{x:.0%}} false alarms<extra></extra>",
        )
    return figure


def class_calibration_chart(points: BinaryPoints) -> go.Figure:
    """Predicted probability against observed share, in groups of patients of like predictions."""
    figure = _square("predicted probability", "observed share")
    for position, (name, one) in enumerate(points.shown.items()):
        _add_groups(figure, one.calibration, name=label(name), colour=colour_of(position))
    return figure


def _square(horizontal: str, vertical: str) -> go.Figure:
    """A chart from 0 to 1 both ways, with its diagonal."""
    figure = go.Figure()
    figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line={"color": MUTED, "width": 1, "dash": "dot"})
    styled(figure, height=420)
    figure.update_layout(showlegend=True)
    figure.update_xaxes(title={"text": horizontal}, range=[-0.02, 1.02], tickformat=".0%")
    figure.update_yaxes(title={"text": vertical}, range=[-0.02, 1.02], tickformat=".0%")
    return figure


def _add_groups(figure: go.Figure, groups: tuple[CalibrationGroup, ...], *, name: str, colour: str) -> None:
    seen = [group for group in groups if group.observed is not None]
    figure.add_scatter(
        x=[group.predicted for group in seen],
        y=[group.observed for group in seen],
        text=[f"{group.patients} patients" if group.patients else "" for group in seen],
        name=name,
        mode="lines+markers",
        line={"color": colour, "width": 1.5},
        marker={"size": 11, "color": colour},
        hovertemplate=f"{name}: predicted %{{x:.0%}}, observed %{{y:.0%}}, %{{text}}<extra></extra>",
    )


def _visible(times: Sequence[float], group: RiskGroup) -> list[float]:
    return [time for time, value in zip(times, group.survival, strict=False) if value is not None]


def _columns(times: Sequence[float], *, last: float) -> list[int]:
    """Positions of the times at which numbers at risk are written, evenly spread up to the last."""
    wanted = [last * step / (NUM_AT_RISK - 1) for step in range(NUM_AT_RISK)]
    nearest = [min(range(len(times)), key=lambda n: abs(times[n] - time)) for time in wanted if times]
    return sorted(set(nearest))


def _count_at(group: RiskGroup, column: int) -> str:
    """Patients at risk; where they are not told, no more than at the last time at which they are."""
    if column < len(group.at_risk) and group.at_risk[column] is not None:
        return f"{group.at_risk[column]}"
    told = [count for count in group.at_risk[:column] if count is not None]
    return f"≤{told[-1]}" if told else ""


def _time_unit(curves: KaplanMeier) -> tuple[float, str]:
    """Years for what lasts longer than two of them, otherwise days."""
    last = max(curves.days, default=0.0)
    return (DAYS_PER_YEAR, "years") if last > 2 * DAYS_PER_YEAR else (1.0, "days")
