"""What stops a benchmark, or a method in it, and how it goes on: nothing that was found is lost."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bench_runs import LEGO, Guess, prepare, run_here, tiny_source, write
from tiny_files import tiny_plan

from lego_core.errors import RunError
from simulations.baselines import BASELINES
from simulations.benchmarks.benchmark import run_job
from simulations.benchmarks.results import Results
from simulations.benchmarks.table import markdown, remarks

ROOT = Path(__file__).resolve().parents[2]


def test_a_folder_with_other_settings_is_refused(tmp_path: Path) -> None:
    benchmark = prepare(tiny_source(tmp_path), tmp_path / "out")
    other = replace(benchmark, protocol=benchmark.protocol.model_copy(update={"seed": 1}))
    with pytest.raises(RunError, match=r"holds a benchmark with other settings: \['seed'\] differ"):
        benchmark.store.claim(other.settings())

    more = replace(benchmark, protocol=benchmark.protocol.model_copy(update={"repeats": 7}))
    benchmark.store.claim(more.settings())

    with pytest.raises(RunError, match="is not empty and holds no benchmark"):
        replace(benchmark, folder=tmp_path).store.claim(benchmark.settings())


def test_a_folder_of_a_plan_that_merges_otherwise_is_refused(tmp_path: Path) -> None:
    source, results = tiny_source(tmp_path), tmp_path / "results"
    prepare(source, results)
    otherwise = tiny_plan("one", "two") + '[merging.heads]\nkind = "linear"\n'
    other = replace(source, plan=write(tmp_path / "other-plan.toml", otherwise))

    with pytest.raises(RunError, match=r"with other settings: \['merging'\] differ"):
        prepare(other, results)


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        ("value", "ValueError: all samples are censored"),
        ("data", "Nothing can be learned."),
        ("nan", "It predicts numbers that are not finite for 12 of 12 patients."),
    ],
)
def test_a_method_that_fails_is_noted_and_the_others_go_on(
    problem: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BASELINES, "bad", Guess(problem=problem))
    monkeypatch.setitem(BASELINES, "good", Guess())

    results = run_here(prepare(tiny_source(tmp_path), tmp_path / "out"), ["baseline:bad", "baseline:good"])

    bad, good = results.methods["baseline:bad"], results.methods["baseline:good"]
    assert (bad.mean, bad.trials, len(bad.failed)) == (None, 0, 5)
    assert (good.mean, good.trials) == (0.5, 5)
    assert "| baseline:bad | failed |" in markdown(results)
    assert any(f"baseline:bad failed in 5 of 5 trials: {sentence}" in line for line in remarks(results))


def test_a_method_that_failed_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patients, settings and seeds would make it fail again; another method is computed alone."""
    benchmark = prepare(tiny_source(tmp_path), tmp_path / "out")
    monkeypatch.setitem(BASELINES, "bad", Guess(problem="data"))
    monkeypatch.setitem(BASELINES, "good", Guess())
    monkeypatch.setitem(BASELINES, "later", Guess())
    before = run_here(benchmark, ["baseline:bad", "baseline:good"])
    monkeypatch.setitem(BASELINES, "bad", Guess())

    jobs = benchmark.jobs(["baseline:bad", "baseline:good", "baseline:later"])
    after = run_here(benchmark, ["baseline:bad", "baseline:good", "baseline:later"])

    assert [job.methods for job in jobs] == [("baseline:later",)] * 5
    assert after.methods["baseline:bad"] == before.methods["baseline:bad"]
    assert len(after.methods["baseline:bad"].failed) == 5
    assert after.methods["baseline:good"] == before.methods["baseline:good"]
    assert after.methods["baseline:later"].trials == 5


def test_an_error_in_the_program_is_not_taken_for_a_failure_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = prepare(tiny_source(tmp_path), tmp_path / "out")
    monkeypatch.setitem(BASELINES, "bad", Guess(problem="program"))
    broken = benchmark.jobs(["baseline:bad"])
    with pytest.raises(TypeError):
        run_job(benchmark, broken[0])
    monkeypatch.setitem(BASELINES, "bad", Guess())

    assert benchmark.jobs(["baseline:bad"]) == broken
    assert run_here(benchmark, ["baseline:bad"]).methods["baseline:bad"].trials == 5


def command(folder: Path, *more: str) -> list[str]:
    source = tiny_source(folder)
    return [
        sys.executable, "-m", "simulations", "bench", "quality", "--dataset", source.dataset,
        "--plan", str(source.plan), "--repeats", "3", "--methods", ",".join(LEGO), "--jobs", "1",
        "--output", str(folder / "out"), *more,
    ]  # fmt: skip


def started(folder: Path) -> subprocess.Popen[str]:
    """The command, once it has told of its first trial."""
    running = subprocess.Popen(command(folder), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert any("1 of 15 done" in line for line in running.stdout)
    return running


def said_until_all_have_ended(running: subprocess.Popen[str]) -> str:
    """What is still said; a pipe ends when the last process that may write to it has ended."""
    return running.communicate(timeout=60)[0]


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_where_it_was(tmp_path: Path) -> None:
    killed = started(tmp_path)
    killed.kill()
    said_until_all_have_ended(killed)
    there = sorted((tmp_path / "out").glob("trials/*/*.json"))
    before = {path: path.stat().st_mtime_ns for path in there}
    assert 6 <= len(there) < 15 * 6

    done = subprocess.run(command(tmp_path), cwd=ROOT, capture_output=True, text=True, check=True)

    assert all(path.stat().st_mtime_ns == before[path] for path in there)
    results = Results.model_validate_json((tmp_path / "out" / "results.json").read_bytes())
    assert all(row.trials == 15 and not row.failed for row in results.methods.values())
    assert "merge:harmonic-mean" in done.stdout

    whole = tmp_path / "at-once"
    whole.mkdir()
    subprocess.run(command(whole), cwd=ROOT, capture_output=True, check=True)
    at_once = Results.model_validate_json((whole / "out" / "results.json").read_bytes())
    assert {name: row.mean for name, row in at_once.methods.items()} == {
        name: row.mean for name, row in results.methods.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_benchmark_says_how_to_go_on_and_leaves_no_process(sent: int, tmp_path: Path) -> None:
    running = started(tmp_path)
    running.send_signal(sent)

    said = said_until_all_have_ended(running)

    assert running.returncode == 130
    assert "Stopped. What is finished is kept; the same command goes on from there." in said
