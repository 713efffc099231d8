import json
import re
from html.parser import HTMLParser

import pytest
import sample_reports
from plotly.offline import get_plotlyjs

from lego_core.hindsight import look_back
from lego_core.protocol import ChartRow
from lego_core.report import render_page
from lego_core.report.words import gain_with_interval
from lego_core.run_report import LeftOut, RunReport, SiteCharts


class _Page(HTMLParser):
    """What a browser would see: addresses that it would load, texts, and charts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.charts: list[dict[str, object]] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [
            value or "" for key, value in attrs if key in {"src", "href", "srcset", "data", "action"}
        ]
        self._inside = "json" if ("type", "application/json") in attrs else tag

    def handle_data(self, data: str) -> None:
        if self._inside == "json":
            self.charts.append(json.loads(data))
        elif self._inside not in {"script", "style"}:
            self.text += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


@pytest.fixture(scope="module")
def page(survival_report: RunReport) -> str:
    return render_page(survival_report)


def test_the_page_loads_nothing_and_forbids_to(page: str) -> None:
    assert _Page(page).loaded == []
    assert "default-src 'none'" in page
    assert "@import" not in page.replace(get_plotlyjs(), "")


def test_the_page_is_below_six_megabytes_and_has_plotly_once(page: str) -> None:
    assert len(page.encode()) < 6_000_000
    assert page.count(get_plotlyjs()) == 1


def test_the_page_says_the_privacy_claim_aloud(page: str, survival_report: RunReport) -> None:
    text = _Page(page).text
    assert "This run was not private" in text
    assert survival_report.privacy_claim in text


def test_the_page_names_every_site_and_every_absence(page: str, survival_report: RunReport) -> None:
    text = _Page(page).text
    assert survival_report.sites
    assert survival_report.left_out
    assert all(site.site in text for site in survival_report.sites)
    assert all(one.reason in text for one in survival_report.left_out)


def test_the_sections_come_in_order(page: str) -> None:
    headings = [re.sub(r"\s+", " ", heading) for heading in re.findall(r"<h2>(.*?)</h2>", page, re.DOTALL)]
    assert headings == [
        "Recommendation", "This run was not private", "Complete, with absences", "Results",
        "Every subset of modalities", "Learning curves", "Survival and calibration",
        "Mergeability of the blocks", "Who took part",
        "Who was left out, when and why", "Agreement and models", "Versions",
    ]  # fmt: skip


def test_the_page_recommends_and_says_what_was_looked_at_afterwards(
    page: str, survival_report: RunReport
) -> None:
    advice = survival_report.recommendation
    assert advice is not None
    text = _Page(page).text
    assert advice.sentence in text
    assert f"Chosen on validation patients. {advice.afterwards}" in text
    assert advice.afterwards.startswith("Looked at afterwards, on 174 test patients")


def test_the_forecast_stands_beside_what_merging_each_pair_did(page: str, survival_report: RunReport) -> None:
    results, back = survival_report.results, survival_report.hindsight
    assert results is not None
    assert back is not None
    table = page.split("Was the forecast right?")[1].split("</table>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table.split("<tr")[2:]]
    assert back.sentence.replace("'", "&#39;") in table
    assert [row[0] for row in rows] == [
        "clinical + laboratory", "imaging + laboratory", "clinical + imaging", "Kendall’s tau",
    ]  # fmt: skip
    assert rows[0][1:5] == ["0.210", "0.126", "0.189", "6.300"]
    (merge,) = [one for one in results.pair_merges if {one.first, one.second} == {"clinical", "laboratory"}]
    assert rows[0][5:] == [gain_with_interval(merge.gain), merge.better, "174"]
    assert rows[3][1:5] == [f"{one.tau:+.2f}" for one in back.agreement]


def test_a_run_whose_pairs_nobody_scored_says_so_without_a_table(survival_report: RunReport) -> None:
    assert survival_report.results is not None
    bare = survival_report.results.model_copy(update={"pair_merges": ()})
    back = look_back(survival_report.mergeability, ())
    report = survival_report.model_copy(update={"results": bare, "hindsight": back})
    page = render_page(report)
    assert "could not be judged: no site scored the merge" in _Page(page).text
    assert "Gain of merging them" not in page


def test_the_page_tells_how_much_each_modality_counts(survival_report: RunReport) -> None:
    weights = {"clinical": 0.35, "laboratory": 0.1, "imaging": 0.05}
    page = render_page(survival_report.model_copy(update={"modality_weights": weights}))
    assert "Share in the merge" in page
    for share in ("70%", "20%", "10%"):
        assert f'<td class="n">{share}</td>' in page


def test_every_chart_is_explained(page: str) -> None:
    assert page.count("How to read this.") == len(_Page(page).charts) == 19


def test_what_sites_wrote_is_shown_and_not_obeyed(survival_report: RunReport) -> None:
    name, reason = "<b>north</b>", "<b>late</b><script>alert(1)</script>"
    hostile = survival_report.model_copy(
        update={
            "sites": tuple(site.model_copy(update={"site": name}) for site in survival_report.sites),
            "left_out": (LeftOut(site=name, phase="blocks", round=1, reason=reason),),
            "learning": tuple(one.model_copy(update={"site": name}) for one in survival_report.learning),
            "charts": tuple(one.model_copy(update={"site": name}) for one in survival_report.charts),
        }
    )
    seen = _Page(render_page(hostile))
    assert name in seen.text
    assert reason in seen.text
    assert seen.tags.count("script") == len(seen.charts) + 2
    assert name not in json.dumps(seen.charts)
    assert "&lt;b&gt;north" in json.dumps(seen.charts)


def test_the_site_with_most_patients_is_shown_first(page: str) -> None:
    options = re.findall(r"<option>(.*?)</option>", page)
    assert [option.split(":")[0] for option in options[2:]] == ["north", "east", "south", "harbour"]


def test_a_failed_run_has_a_page(failed_report: RunReport) -> None:
    seen = _Page(render_page(failed_report))
    assert "The run failed. Of 4 sites" in seen.text
    assert seen.charts == []


def test_a_run_without_charts_has_a_page(survival_report: RunReport) -> None:
    bare = survival_report.model_copy(update={"charts": (), "mergeability": (), "learning": (), "rounds": ()})
    text = _Page(render_page(bare)).text
    assert "Survival and calibration" not in text
    assert "Results" in text


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"kaplan_meier": "broken", "calibration": {"groups": [{}]}},
        {"kaplan_meier": {"days": [], "groups": []}, "integrated_brier_reason": "nobody was followed"},
        {"kaplan_meier": {"days": [0.0, 1.0], "groups": [{"name": "low", "survival": [None, None]}]}},
    ],
)
def test_points_that_are_absent_or_broken_leave_a_page(
    survival_report: RunReport, details: dict[str, object]
) -> None:
    row = ChartRow(method="merge", modalities=("clinical",), patients="holding", count=30, details=details)
    bare = survival_report.model_copy(update={"mergeability": (), "learning": (), "rounds": ()})
    report = bare.model_copy(update={"charts": (SiteCharts(site="north", rows=(row,)),)})
    assert "Who took part" in _Page(render_page(report)).text


def test_classes_have_roc_and_calibration(classification_report: RunReport) -> None:
    seen = _Page(render_page(classification_report))
    assert "ROC and calibration" in seen.text
    assert "malignant, AUROC 0." in json.dumps(seen.charts)
    assert "Privacy: secure sum" in seen.text


def test_rows_on_different_patients_are_not_compared(survival_report: RunReport) -> None:
    results = survival_report.results
    assert results is not None
    scores = tuple(score for score in results.scores if score.patients == "holding")
    other = sample_reports.with_scores(survival_report, results.model_copy(update={"scores": scores}))
    text = _Page(render_page(other)).text
    assert "Gain over best block" not in text
    assert "cannot be compared with one another" in text
