"""How every chart looks."""

from html import escape

import plotly.graph_objects as go

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
INK, MUTED, GRID = "#1d2a35", "#5b6b78", "#e4e9ed"
METHOD_COLOURS = {"block": "#7d8c99", "ensemble": "#b7791f", "merge": "#0b6e99", "fuse": "#7b3f98"}
SERIES_COLOURS = (
    "#0b6e99", "#c8553d", "#3c8d5a", "#7b3f98", "#b7791f",
    "#4a6fd1", "#a3366b", "#5f7d1c", "#2a9d9d", "#8a5a44",
)  # fmt: skip
RISK_COLOURS = ("#3c8d5a", "#d39a2d", "#c0392b")
LOW_TO_HIGH = [[0.0, "#f1f6f9"], [1.0, "#8cc4dc"]]  # light enough for dark figures on them
NEAR_TO_FAR = [[0.0, "#faf6ee"], [1.0, "#e8a866"]]


def styled(figure: go.Figure, *, height: int) -> go.Figure:
    """Give a chart the style of the page."""
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        autosize=True,
        margin={"l": 8, "r": 16, "t": 12, "b": 8},
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"font": {"family": FONT, "size": 13}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title": {"text": ""}},
    )
    axes = {"automargin": True, "gridcolor": GRID, "linecolor": GRID, "zeroline": False, "ticks": "",
        "title": {"font": {"size": 13, "color": MUTED}},
    }  # fmt: skip
    figure.update_xaxes(**axes)
    figure.update_yaxes(**axes)
    return figure


def label(text: str) -> str:
    """A text as it is: charts would read `<b>` in a name as bold."""
    return escape(text, quote=False)


def colour_of(position: int) -> str:
    """The colour of the n-th series; colours come again after ten."""
    return SERIES_COLOURS[position % len(SERIES_COLOURS)]
