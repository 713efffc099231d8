"""The report of a run as one HTML page that needs no network, for a clinician and a coordinator."""

from jinja2 import Environment, StrictUndefined
from plotly.offline import get_plotlyjs

from lego_core.hindsight import NAMES
from lego_core.report import _panels as panels
from lego_core.report import _tables as tables
from lego_core.report import words
from lego_core.report._look import SCRIPT, STYLE
from lego_core.report._template import PAGE
from lego_core.run_report import RunReport


def render_page(report: RunReport) -> str:
    """Write the page: numbers, charts and who took part, in one file that loads nothing.

    Guarantees:
        Every string of the report is escaped, in text and in charts alike, and the page forbids the
        browser to fetch anything.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(PAGE).render(
        report=report,
        words=words,
        style=STYLE,
        script=SCRIPT,
        plotly=get_plotlyjs(),
        modalities=tables.modalities_of(report),
        results=tables.result_rows(report),
        is_paired=any(score.patients == "complete" for score in words.headline_scores(report)),
        result_chart=panels.result_panel(report),
        subsets=panels.subset_options(report),
        learning=panels.learning_panels(report),
        charts=panels.site_options(report),
        mergeability=panels.mergeability_panels(report),
        measures=tuple(NAMES.values()),
        forecasts=tables.forecast_rows(report),
        agreement=tables.rank_agreement(report),
        sites=tables.site_rows(report),
        blocks=tables.block_rows(report),
        examined=tables.examined_rows(report),
    )
