"""What Prometheus is told, read back by Prometheus' own parser."""

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from seeing_logs import asked_of_round, begun, one_round, whole_run, write_log
from typer.testing import CliRunner
from visitor import Visitor

from deploy.seeing.cli import app
from deploy.seeing.web import make_dashboard

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Samples:
    """All samples, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = tmp_path_factory.mktemp("runs")
    write_log(folder / "over", whole_run())
    write_log(folder / "going", [*begun(), *one_round(1), *asked_of_round(2)])
    answer = Visitor(make_dashboard(folder)).get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return parsed(answer.text)


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def test_phase_round_and_status(samples: Samples) -> None:
    assert value(samples, "lego_run_status", run="going", status="running") == 1
    assert value(samples, "lego_run_status", run="over", status="complete") == 1
    assert value(samples, "lego_run_status", run="over", status="running") == 0
    assert value(samples, "lego_run_phase", run="going", phase="blocks") == 1
    assert value(samples, "lego_run_round", run="going") == 2
    assert value(samples, "lego_run_rounds", run="going") == 3
    assert value(samples, "lego_run_finished", run="going") == 0
    assert value(samples, "lego_run_finished", run="over") == 1
    assert value(samples, "lego_run_log_faults", run="over") == 0


def test_sites(samples: Samples) -> None:
    assert value(samples, "lego_run_sites", run="going") == 3
    assert value(samples, "lego_run_sites_online", run="going") == 3
    assert value(samples, "lego_run_sites_waited", run="going") == 3
    assert value(samples, "lego_run_sites_waited", run="over") == 0
    assert value(samples, "lego_site_absences_total", run="over", site="clinic-2") == 3
    assert value(samples, "lego_site_epsilon", run="over", site="lab") == 4.5
    assert value(samples, "lego_run_epsilon_budget", run="over") == 8


def test_losses_and_scores(samples: Samples) -> None:
    assert value(samples, "lego_validation_loss", run="over", model="clinical") == pytest.approx(1.1 / 3)
    assert value(samples, "lego_validation_score", run="over", model="clinical") == pytest.approx(0.8)
    assert value(samples, "lego_train_loss", run="over", model="laboratory", site="lab") == pytest.approx(
        1 / 3
    )
    told = {
        "method": "merge",
        "modalities": "clinical+laboratory",
        "patients": "complete",
        "metric": "C-index",
    }
    assert value(samples, "lego_test_score", run="over", **told) == 0.75


def test_how_long_answers_take(samples: Samples) -> None:
    about = {"run": "over", "site": "clinic-2", "phase": "blocks"}

    assert value(samples, "lego_answer_seconds_bucket", le="5", **about) == 0
    assert value(samples, "lego_answer_seconds_bucket", le="10", **about) == 3
    assert value(samples, "lego_answer_seconds_bucket", le="+Inf", **about) == 3
    assert value(samples, "lego_answer_seconds_count", **about) == 3
    assert value(samples, "lego_answer_seconds_sum", **about) == pytest.approx(3 * 7.25)


def test_events_by_kind(samples: Samples) -> None:
    assert value(samples, "lego_run_events_total", run="over", event="round-finished") == 6
    assert value(samples, "lego_run_events_total", run="over", event="left-out") == 3


def test_the_command_prints_the_same_metrics(tmp_path: Path) -> None:
    write_log(tmp_path / "over", whole_run())

    done = CliRunner().invoke(app, ["metrics", str(tmp_path)])

    assert done.exit_code == 0
    assert value(parsed(done.output), "lego_run_finished", run="over") == 1
