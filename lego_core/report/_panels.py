"""Which charts the page shows, each with its title and one sentence on how to read it."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from lego_core.mergeability import Measure
from lego_core.protocol import ChartRow
from lego_core.report._points import BinaryPoints, SurvivalPoints, read
from lego_core.report.charts import learning_chart, mergeability_chart, result_chart, subset_chart
from lego_core.report.site_charts import (
    class_calibration_chart,
    kaplan_meier_chart,
    roc_chart,
    survival_calibration_chart,
)
from lego_core.report.words import headline_scores, model_name
from lego_core.run_report import RunReport, SiteCharts

MEASURES: dict[Measure, tuple[str, str]] = {
    "sign_dissimilarity": (
        "Sign dissimilarity (SSD)",
        "0: all weights have the same signs; 1: they cancel. Of the four, this and the next tell most.",
    ),
    "truncated_sign_dissimilarity": (
        "Truncated sign dissimilarity (TSSD)",
        "The same for the larger half of the weights, which matter most.",
    ),
    "cosine_dissimilarity": (
        "Cosine dissimilarity",
        "0: the weights point the same way; 1: they have nothing to do with each other.",
    ),
    "l2_distance": (
        "L2 distance",
        "Distance of the weights; it grows with their number, so compare within this run alone.",
    ),
}


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure, what it shows, and how to read it."""

    title: str
    how: str
    figure: go.Figure

    @property
    def plain(self) -> str:
        """The figure as JSON that cannot end the script element it stands in."""
        return (self.figure.to_json() or "{}").replace("<", "\\u003c")


@dataclass(frozen=True, slots=True)
class Option:
    """One choice of a selector, with what it shows."""

    label: str
    charts: tuple[Chart, ...]
    facts: tuple[str, ...] = ()


def result_panel(report: RunReport) -> Chart | None:
    """The forest plot, if there are results."""
    if not headline_scores(report):
        return None
    how = (
        "Each mark is a score and its bar the 95 % interval; the dotted line is the best block, chosen on "
        "validation patients. Bars that overlap do not decide: the paired difference in the table does."
    )
    return Chart("Scores with their intervals", how, result_chart(report))


def subset_options(report: RunReport) -> list[Option]:
    """The subset matrix, for complete patients and for all who hold the modalities."""
    results = report.results
    if results is None:
        return []
    how = {
        "complete": "Rows are what a model may see, columns are models; all cells are on the same patients.",
        "holding": "Rows are what a model may see; n differs between rows: compare along a row alone.",
    }
    names = {"complete": "patients with every modality", "holding": "all patients who hold the modalities"}
    return [
        Option(names[patients], (Chart("", how[patients], subset_chart(results, patients=patients)),))
        for patients in ("complete", "holding")
        if any(score.patients == patients for score in results.scores)
    ]


def learning_panels(report: RunReport) -> list[Chart]:
    """One learning chart per block, and one for the fused model."""
    how = (
        "Thin lines are sites (solid: training, dotted: their validation patients); the thick line is the "
        "validation loss over all sites, lower is better, and the dashed line marks the round that was kept."
    )
    order = [*report.parameters, *(r.modality for r in report.rounds), *(p.modality for p in report.learning)]
    seen = {r.modality for r in report.rounds} | {p.modality for p in report.learning}
    names = [name for name in dict.fromkeys(order) if name in seen]
    return [
        Chart(
            "Fused model" if name == "fused" else f"Block {name}", how, learning_chart(report, modality=name)
        )
        for name in names
    ]


def mergeability_panels(report: RunReport) -> list[Chart]:
    """One heat map per measure."""
    if not report.mergeability:
        return []
    return [
        Chart(title, how, mergeability_chart(report, measure=measure))
        for measure, (title, how) in MEASURES.items()
    ]


def site_options(report: RunReport) -> list[Option]:
    """The charts of every site's main model; the site with most patients for the merge comes first."""
    main = [(charts.site, row) for charts in report.charts if (row := _main_row(charts)) is not None]
    main.sort(key=lambda one: (-_rank(one[1]), -len(one[1].modalities), -one[1].count, one[0]))
    options = [_site_option(site, row, task=report.task) for site, row in main]
    return [option for option in options if option.charts or option.facts]


def _main_row(charts: SiteCharts) -> ChartRow | None:
    rows = sorted(
        charts.rows,
        key=lambda row: (_rank(row), len(row.modalities), row.patients == "complete", row.count),
    )
    return rows[-1] if rows else None


def _rank(row: ChartRow) -> int:
    return ("block", "ensemble", "fuse", "merge").index(row.method)


def _site_option(site: str, row: ChartRow, *, task: str) -> Option:
    seen = "" if row.method == "block" else f" of {' + '.join(row.modalities)}"
    label = f"{site}: {model_name(row.method, row.modalities)}{seen}, {row.count:,} patients"
    if task == "survival":
        return _survival_option(label, read(row.details, SurvivalPoints))
    return _binary_option(label, read(row.details, BinaryPoints))


def _survival_option(label: str, points: SurvivalPoints) -> Option:
    charts = []
    if points.kaplan_meier.groups:
        how = (
            "Patients are cut into thirds by predicted risk; the further the observed curves part, the "
            "better the model ranks. A line ends where fewer than ten patients were still followed."
        )
        charts.append(Chart("Survival by third of predicted risk", how, kaplan_meier_chart(points)))
    if points.calibration.groups:
        day = points.calibration.horizon_days
        title = "Calibration" if day is None else f"Calibration at day {day:,.0f}"
        how = "Each mark is a group of like predictions; on the diagonal, as many survived as predicted."
        charts.append(Chart(title, how, survival_calibration_chart(points)))
    facts = []
    if points.events is not None:
        facts.append(f"Events seen: {points.events:,}.")
    if points.integrated_brier is not None:
        facts.append(
            f"Integrated Brier score: {points.integrated_brier:.3f} (0 is perfect, lower is better)."
        )
    elif points.integrated_brier_reason:
        facts.append(f"No integrated Brier score: {points.integrated_brier_reason}.")
    return Option(label, tuple(charts), tuple(facts))


def _binary_option(label: str, points: BinaryPoints) -> Option:
    withheld = [name for name in points.by_class if name not in points.shown]
    facts = [f"{name}: {_numbers(one)}." for name, one in points.shown.items() if _numbers(one)]
    if withheld:
        facts.append(f"Not shown, since fewer than ten patients have it or lack it: {', '.join(withheld)}.")
    if not points.shown:
        return Option(label, (), tuple(facts))
    how_roc = "Further to the upper left is better; the diagonal is a coin."
    how_calibration = (
        "Each mark is a group of like predictions; on the diagonal, as many had it as predicted."
    )
    charts = (
        Chart("ROC", how_roc, roc_chart(points)),
        Chart("Calibration", how_calibration, class_calibration_chart(points)),
    )
    return Option(label, charts, tuple(facts))


def _numbers(one: object) -> str:
    names: Sequence[tuple[str, str]] = (
        ("average_precision", "average precision"),
        ("brier", "Brier score"),
        ("calibration_slope", "calibration slope (1 is perfect)"),
        ("calibration_intercept", "calibration intercept (0 is perfect)"),
    )
    known = [(words, getattr(one, key)) for key, words in names]
    return ", ".join(f"{words} {value:.2f}" for words, value in known if value is not None)
