"""The dashboard and the report in a real browser, from a real server process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from report.sample_reports import survival_report
from seeing_logs import asked_of_round, begun, ended, one_round, whole_run, write_log

from deploy.seeing.browser import Browser, Tab, find_browser
from lego_core.report import render_page

ROOT = Path(__file__).resolve().parents[2]
COMMAND = find_browser()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMMAND is None, reason="there is no Chromium here; apt-get install chromium"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_log(folder / "over", whole_run())
    write_log(folder / "going", [*begun(), *one_round(1), *asked_of_round(2)])
    return folder


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    """Where a dashboard listens that was started as its operator starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy", "dashboard", str(runs), "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split("is at ")[1].split(" until")[0]
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert COMMAND is not None
    with Browser(COMMAND) as started:
        yield started


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A tab whose page has nothing to complain of when the test is over."""
    with browser.tab() as opened:
        yield opened
        assert opened.complaints == []


def text(tab: Tab, name: str) -> str:
    return tab.value(f"document.getElementById('{name}').innerText")


def open_run(tab: Tab, address: str, run: str) -> None:
    tab.open(f"{address}?run={run}")
    tab.wait_for("document.getElementById('plan').innerText === 'liver'")


def test_the_page_shows_phase_sites_and_who_is_waited_for(tab: Tab, address: str) -> None:
    open_run(tab, address, "going")

    assert text(tab, "status") == "running"
    assert "training blocks, round 2 of 3" in text(tab, "round-text")
    assert "Waiting for clinic-1, clinic-2, lab: " in text(tab, "waiting")
    assert tab.value("document.querySelector('.phases .going b').innerText") == "blocks"
    assert text(tab, "sites-title") == "Sites: 3 of 3 online"
    assert tab.value("document.querySelectorAll('#sites tbody tr').length") == 3
    assert "takes no part on Tuesdays" in text(tab, "events")
    assert '"event": "asked"' in tab.value("document.getElementById('tail').textContent")


def test_curves_have_a_size_and_every_site_a_line(tab: Tab, address: str) -> None:
    open_run(tab, address, "over")

    boxes = tab.value(
        "[...document.querySelectorAll('#curves svg')].map(one => one.getBoundingClientRect())"
        ".map(box => [box.width, box.height])"
    )
    assert len(boxes) == 3  # clinical, laboratory, scores
    assert all(width > 200 and height > 100 for width, height in boxes)
    lines = tab.value(
        "[...document.querySelectorAll('#curves figure')].map(one => [one.dataset.name,"
        " [...one.querySelectorAll('polyline')].map(line => line.getBoundingClientRect().width)])"
    )
    assert {name: len(widths) for name, widths in lines} == {"clinical": 3, "laboratory": 3, "scores": 1}
    assert all(width > 50 for _, widths in lines for width in widths)


def test_subsets_privacy_and_numbers_are_there(tab: Tab, address: str) -> None:
    open_run(tab, address, "over")

    assert "0.750" in text(tab, "subsets")
    assert "clinical + laboratory" in text(tab, "subsets")
    assert "spent of 8" in text(tab, "spent")
    assert "4.50" in text(tab, "spent")
    assert tab.value("document.querySelector('.bar > div').getBoundingClientRect().width") > 20
    assert tab.value("document.querySelectorAll('#numbers tbody tr').length") == 6


def test_the_page_moves_on_while_the_log_grows(tab: Tab, address: str, runs: Path) -> None:
    write_log(runs / "growing", begun())
    open_run(tab, address, "growing")
    assert tab.value("document.querySelectorAll('#curves polyline').length") == 0

    write_log(runs / "growing", [*one_round(1), *one_round(2)])
    tab.wait_for("document.querySelectorAll('#curves polyline').length > 0", seconds=30)
    assert "round 2 of 3" in text(tab, "round-text")

    write_log(runs / "growing", [*one_round(3), *ended()])
    tab.wait_for("document.getElementById('status').innerText === 'complete'", seconds=30)
    assert "Recommended: the merged model." in text(tab, "outcome")


def test_the_clock_runs_while_nothing_is_written(tab: Tab, address: str) -> None:
    open_run(tab, address, "going")
    before = text(tab, "waiting")

    tab.wait_for(f"document.getElementById('waiting').innerText !== {before!r}", seconds=30)


def test_the_page_keeps_what_it_shows_when_its_width_changes(tab: Tab, address: str) -> None:
    open_run(tab, address, "going")
    wide = tab.value("document.querySelector('#curves svg').getBoundingClientRect().width")

    tab.call("Emulation.setDeviceMetricsOverride", width=420, height=800, deviceScaleFactor=1, mobile=False)

    tab.wait_for(f"document.querySelector('#curves svg').viewBox.baseVal.width < {wide - 50}")
    assert tab.value("document.documentElement.scrollWidth <= window.innerWidth")
    assert "waited for" in tab.value("document.querySelector('[data-since]').innerText")


def test_a_line_that_was_changed_is_shown_with_its_number(tab: Tab, address: str, runs: Path) -> None:
    path = write_log(runs / "changed", whole_run())
    path.write_bytes(path.read_bytes().replace(b'"clinical": 40', b'"clinical": 99', 1))

    open_run(tab, address, "changed")

    assert "The run log does not hold: line 7." in text(tab, "faults")


def test_names_in_a_log_are_text_and_never_markup(tab: Tab, address: str, runs: Path) -> None:
    bad = "<img src=x onerror=document.title='broken'>"
    write_log(runs / "bad", [*begun(), ("offer", {"site": bad, "modalities": {bad: 10}})])

    open_run(tab, address, "bad")

    assert bad in text(tab, "sites")
    assert tab.value("document.querySelectorAll('img').length") == 0
    assert "broken" not in tab.value("document.title")


def test_light_and_dark_differ_and_both_can_be_read(tab: Tab, address: str) -> None:
    open_run(tab, address, "over")
    paint = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    seen = {}
    for theme in ("light", "dark"):
        tab.value(
            f"(() => {{ const one = document.getElementById('theme'); one.value = '{theme}';"
            " one.dispatchEvent(new Event('change')); })()"
        )
        seen[theme] = tab.value(paint)
        assert contrast(*seen[theme]) > 7
    assert seen["light"] != seen["dark"]


def test_everything_that_can_be_used_has_a_name(tab: Tab, address: str) -> None:
    open_run(tab, address, "over")

    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    used = {"button", "link", "combobox", "checkbox", "progressbar", "region", "image", "table"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in used - {"table"}
    ]
    assert {"combobox", "checkbox", "region"} <= {role for role, _ in named}
    assert [role for role, name in named if not name] == []


def test_the_report_opens_with_its_charts(tab: Tab, address: str, runs: Path) -> None:
    (runs / "over" / "report.html").write_text(render_page(survival_report()), encoding="utf-8")
    tab.open(f"{address}report?run=over")

    tab.wait_for("document.querySelectorAll('.plot svg').length > 0", seconds=90)
    width = tab.value("document.querySelector('.plot svg').getBoundingClientRect().width")
    assert width > 200
    assert "report of a run" in tab.value("document.body.innerText")


def contrast(first: str, second: str) -> float:
    """How well two colours can be told apart, as WCAG 2 counts it."""
    lights = sorted((luminance(first), luminance(second)), reverse=True)
    return (lights[0] + 0.05) / (lights[1] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
