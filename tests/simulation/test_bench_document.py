"""Benchmarks of several datasets, put together and written down."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lego_core.errors import RunError
from simulations.benchmarks.across import MERGE, Finished, best_of, families, gain_over
from simulations.benchmarks.document import write_document
from simulations.benchmarks.results import MethodResult, Results
from simulations.cli import app

RULE = "merge:harmonic-mean"


def finished(folder: Path, name: str, means: Mapping[str, float], *, spread: float = 0.01) -> Finished:
    """A benchmark's folder with these means; a resample moves all methods alike, the merge a bit more."""
    rng = np.random.default_rng(len(name))
    common = rng.normal(0, 0.1, size=500)
    resampled = {
        method: mean + common + (rng.normal(0, spread, size=500) if method == RULE else 0)
        for method, mean in means.items()
    }
    rows = {
        method: MethodResult(
            mean=mean,
            sd=None,
            ci95=(mean - 0.2, mean + 0.2),
            per_repeat=(mean,),
            seconds=1.0,
            parameters=3,
            trials=1,
            patients=9 if method == "baseline:snn" and name == "tcga-a" else 10,
        )
        for method, mean in means.items()
    }
    command = (
        f"python -m simulations bench quality --dataset {name} --data /home/me/data --output /home/me/out"
    )
    results = Results(
        dataset=name, metric="C-index", methods=rows, default_rule=RULE, protocol="Twice.", notes=(),
        quick=False, command=command, date="2026-01-02",
    )  # fmt: skip
    (folder / name).mkdir()
    (folder / name / "results.json").write_text(results.model_dump_json(), encoding="utf-8")
    (folder / name / "table.md").write_text(f"### {name}\n\n`{command}`\n", encoding="utf-8")
    (folder / name / "figure.svg").write_text("<svg/>", encoding="utf-8")
    np.savez(folder / name / "resampled.npz", **resampled)
    return Finished.read(folder / name)


@pytest.fixture
def three(tmp_path: Path) -> list[Finished]:
    """Two cohorts of one family and one of its own."""
    return [
        finished(
            tmp_path, "pbc", {"best-block": 0.70, RULE: 0.80, "baseline:cox": 0.79, "baseline:snn": 0.6}
        ),
        finished(tmp_path, "tcga-a", {"best-block": 0.60, RULE: 0.60, "baseline:cox": 0.63}),
        finished(tmp_path, "tcga-bc", {"best-block": 0.50, RULE: 0.56, "baseline:cox": 0.55}),
    ]


def test_a_gain_over_datasets_is_the_mean_of_their_gains(three: list[Finished]) -> None:
    gain = gain_over(MERGE, "best-block", three)
    assert gain is not None
    assert gain.mean == pytest.approx((0.10 + 0.00 + 0.06) / 3)
    assert gain.verdict == "above"


def test_its_interval_shrinks_with_the_number_of_datasets_and_forgets_what_methods_share(
    three: list[Finished],
) -> None:
    one, all_three = gain_over(MERGE, "best-block", three[:1]), gain_over(MERGE, "best-block", three)
    assert one is not None
    assert all_three is not None
    widths = [high - low for low, high in (one.ci95, all_three.ci95)]
    assert widths[0] == pytest.approx(2 * 1.96 * 0.01, rel=0.15)  # not that of the 0.1 which both share
    assert widths[1] == pytest.approx(widths[0] / np.sqrt(3), rel=0.15)


def test_an_interval_with_zero_in_it_is_no_difference(three: list[Finished]) -> None:
    gain = gain_over(MERGE, "best-block", [three[1]])
    assert gain is not None
    assert gain.verdict == "no difference"


def test_nothing_is_said_of_a_method_that_some_dataset_lacks(three: list[Finished]) -> None:
    assert gain_over(MERGE, "baseline:snn", three) is None
    assert gain_over(MERGE, "baseline:snn", three[:1]) is not None
    assert best_of(["baseline:snn", "baseline:cox"], three) == "baseline:cox"
    assert best_of(["baseline:snn"], three) is None


def test_nothing_is_said_of_methods_that_speak_of_different_patients(tmp_path: Path) -> None:
    one = finished(tmp_path, "tcga-a", {RULE: 0.60, "baseline:snn": 0.5, "baseline:cox": 0.5})
    assert gain_over(MERGE, "baseline:snn", [one]) is None
    assert gain_over(MERGE, "baseline:cox", [one]) is not None


def test_cohorts_of_one_family_are_found(three: list[Finished]) -> None:
    assert {name: [each.name for each in them] for name, them in families(three).items()} == {
        "tcga": ["tcga-a", "tcga-bc"]
    }


def test_the_document_shows_every_dataset_and_no_path_of_whoever_measured(
    three: list[Finished], tmp_path: Path
) -> None:
    write_document(three, [], folder=tmp_path / "out")
    text = (tmp_path / "out" / "RESULTS.md").read_text(encoding="utf-8")
    for each in three:
        assert f"python -m simulations bench quality --dataset {each.name} --data DIR\n" in text
        assert (tmp_path / "out" / "figures" / f"{each.name}.svg").is_file()
    assert "/home/me" not in text
    assert "the 2 of tcga" in text
    assert "| merge | **0.800** | 0.600 | **0.560** | 0.653 |" in text
    assert "baseline:snn | 0.600 |  |  |  |" in text


def test_an_unfinished_benchmark_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(RunError, match=r"'mine' has no 'results.json'.*goes on where it was"):
        Finished.read(tmp_path / "mine")
    answer = CliRunner().invoke(app, ["bench", "document", str(tmp_path / "mine")])
    assert answer.exit_code == 2
