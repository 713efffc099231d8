"""A run for MLflow: one MLflow run, with the plan as parameters and the curves as metrics."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import final

from deploy.seeing.run_state import RunState
from deploy.seeing.scalars import Scalar
from lego_core.errors import RunError

AT_ONCE = 500  # metrics in one call; MLflow takes 1,000
FORBIDDEN = re.compile(r"[^\w\-. :/]")  # in the name of a metric


@final
class MlflowRun:
    """One run of an MLflow server or database.

    Args:
        uri: Of the tracking server or database, such as `http://127.0.0.1:5000` or `sqlite:///mlflow.db`.
        name: Name of the run.

    Raises:
        RunError: If MLflow is not installed.
    """

    def __init__(self, uri: str, *, name: str) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        try:
            from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise RunError(
                "MLflow is not installed. Run: pip install -c constraints.txt -e '.[mlflow]'."
            ) from error
        self._name = name
        self._uri = uri
        self._run = ""
        with self._plainly():
            self._client = MlflowClient(uri)

    def write(self, state: RunState, scalars: Sequence[Scalar]) -> None:
        """As `Sink.write`.

        Raises:
            RunError: If MLflow does not take it.
        """
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        with self._plainly():
            if not self._run:
                self._begin(state)
            metrics = [Metric(_named(one.name), one.value, _stamp(one), one.step) for one in scalars]
            for start in range(0, len(metrics), AT_ONCE):
                self._client.log_batch(self._run, metrics=metrics[start : start + AT_ONCE])

    def close(self, state: RunState) -> None:
        """As `Sink.close`.

        Raises:
            RunError: If MLflow does not take it.
        """
        with self._plainly():
            for key in ("status", "reason", "recommendation", "claim"):
                if value := getattr(state, key):
                    self._client.set_tag(self._run, f"lego.{key}", value)
            end = round(state.last_event.timestamp() * 1000) if state.last_event and state.ended else None
            if state.ended:
                status = "FAILED" if state.status == "failed" else "FINISHED"
                self._client.set_terminated(self._run, status, end_time=end)

    def _begin(self, state: RunState) -> None:
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        name = f"lego-federation {state.plan}".strip()
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        began = round(state.began.timestamp() * 1000) if state.began else None
        self._run = self._client.create_run(experiment, start_time=began, run_name=self._name).info.run_id
        parameters = {
            "plan": state.plan,
            "task": state.task,
            "privacy": state.privacy,
            "modalities": ", ".join(state.modalities),
            "rounds": state.block_rounds,
            "fuse rounds": state.fuse_rounds,
            "epsilon": state.epsilon,
        }
        told = [Param(key, str(value)) for key, value in parameters.items() if value not in ("", None)]
        self._client.log_batch(self._run, params=told)

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Say in a sentence what MLflow, or the way to it, says no to."""
        from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]

        try:
            yield
        except (MlflowException, OSError, ImportError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunError(
                f"MLflow at '{without_credentials(self._uri)}' does not take the run: {said} Name the URI of "
                "a tracking server that runs, or of a database (sqlite:///mlflow.db)."
            ) from error


def without_credentials(uri: str) -> str:
    """A URI fit to be printed: without the name and password of who may write."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _named(name: str) -> str:
    """A name that MLflow takes."""
    return FORBIDDEN.sub("_", name)


def _stamp(one: Scalar) -> int:
    return round(one.time.timestamp() * 1000)
