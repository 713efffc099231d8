"""A run in TensorBoard's files and in MLflow, read back by these tools themselves."""

import threading
import time
from pathlib import Path

import pytest
from seeing_logs import begun, ended, one_round, trained, whole_run, write_log
from typer.testing import CliRunner

from deploy.seeing import RunReader
from deploy.seeing.cli import app
from deploy.seeing.mlflow import without_credentials
from deploy.seeing.run_state import RunState
from deploy.seeing.scalars import Scalar, export, scalars_of

RUNNER = CliRunner()


class Kept:
    """A tool that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[list[Scalar]] = []
        self.closed = 0

    def write(self, state: RunState, scalars: list[Scalar]) -> None:
        self.batches.append(list(scalars))

    def close(self, state: RunState) -> None:
        self.closed += 1


def test_no_series_has_two_numbers_at_one_step(tmp_path: Path) -> None:
    write_log(tmp_path, whole_run())
    places = [(one.name, one.step) for one in scalars_of(RunReader(tmp_path).look())]

    assert len(places) == len(set(places)) > 20


def test_following_gives_every_number_once_and_ends_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.seeing.scalars.LOOK_SECONDS", 0.02)
    write_log(tmp_path, [*begun(), *one_round(1)])
    kept = Kept()
    following = threading.Thread(target=export, args=(RunReader(tmp_path), kept), kwargs={"follow": True})
    following.start()
    while not kept.batches:
        time.sleep(0.01)
    write_log(tmp_path, [*one_round(2), *one_round(3), *ended()])
    following.join(timeout=60)

    given = [(one.name, one.step) for batch in kept.batches for one in batch]
    assert not following.is_alive()
    assert kept.closed == 1
    assert kept.batches[0]
    assert len(given) == len(set(given))
    # of epsilon only the last value before a look is known
    wanted = {(one.name, one.step) for one in scalars_of(RunReader(tmp_path).look())}
    assert wanted <= set(given)


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write_log(tmp_path / "run", whole_run())

    done = RUNNER.invoke(app, ["export-tensorboard", str(tmp_path / "run"), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output

    read = event_accumulator.EventAccumulator(str(tmp_path / "out"))
    read.Reload()
    losses = read.Scalars("train loss/clinical/clinic-1")
    assert [one.step for one in losses] == [1, 2, 3]
    assert [one.value for one in losses] == pytest.approx([1, 1 / 2, 1 / 3])
    state = RunReader(tmp_path / "run").look()
    wanted = [point.time.timestamp() for point in state.blocks["clinical"].points]
    assert [one.wall_time for one in losses] == pytest.approx(wanted, abs=0.01)
    (score,) = read.Scalars("test C-index/clinical and laboratory/merge, complete patients")
    assert score.value == pytest.approx(0.75)
    assert read.Scalars("epsilon/lab")[0].value == pytest.approx(4.5)


def test_files_of_another_run_are_not_mixed_up(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    write_log(tmp_path / "run", trained())
    arguments = ["export-tensorboard", str(tmp_path / "run"), str(tmp_path / "out")]
    assert RUNNER.invoke(app, arguments).exit_code == 0

    again = RUNNER.invoke(app, arguments)

    assert again.exit_code == 2
    assert "holds event files of TensorBoard already" in again.output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # MLflow's own, of its database
def test_mlflow_reads_what_was_written(tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking", reason="needs pip install -e '.[mlflow]'")
    write_log(tmp_path / "run", whole_run(status="failed"))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"

    done = RUNNER.invoke(app, ["export-mlflow", str(tmp_path / "run"), uri])
    assert done.exit_code == 0, done.output

    client = tracking.MlflowClient(uri)
    experiment = client.get_experiment_by_name("lego-federation liver")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train loss/clinical/clinic-1")
    assert [one.step for one in history] == [1, 2, 3]
    assert [one.value for one in history] == pytest.approx([1, 1 / 2, 1 / 3])
    assert run.data.params["privacy"] == "patient-dp"
    assert run.info.status == "FAILED"
    assert run.data.tags["lego.reason"] == "A reason."


def test_credentials_of_an_address_are_never_printed() -> None:
    assert without_credentials("https://me:secret@tracking.example/x") == "https://tracking.example/x"
    assert without_credentials("sqlite:///mlflow.db") == "sqlite:///mlflow.db"
