"""`python -m deploy`: status, dashboard, metrics, and the run for TensorBoard and MLflow."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from deploy._terminal import plain_errors
from deploy.seeing.mlflow import MlflowRun, without_credentials
from deploy.seeing.prometheus import metrics_text
from deploy.seeing.run_reader import RunReader, find_runs, latest_run
from deploy.seeing.scalars import export
from deploy.seeing.serve import Listening, bind, serve
from deploy.seeing.status import exit_code, status_of
from deploy.seeing.tensorboard import TensorBoardFiles
from deploy.seeing.view import view_of
from deploy.seeing.web import make_dashboard

app = typer.Typer(
    help="See what a run is doing, or did, from its run log alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
LOOK_SECONDS = 1.0

Runs = Annotated[Path, typer.Argument(metavar="RUN-DIR", help="Folder of a run, or of several: the latest.")]


@app.command()
def status(
    run: Runs = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    watch: Annotated[bool, typer.Option(help="Look again every second, until the run is over.")] = False,
) -> None:
    """Show a run: phase, round, sites, scores, privacy, last events.

    Exit codes: 0 running or complete, 1 failed, 2 no such run, 3 stalled.
    """
    console = Console()
    with plain_errors():
        reader = RunReader(latest_run(run))
        if watch and not as_json:
            _watch(reader, console)
        state, now = reader.look(), datetime.now(UTC)
    if as_json:
        typer.echo(json.dumps(view_of(state, now=now), indent=1))
    else:
        console.print(status_of(state, now=now))
    raise typer.Exit(exit_code(state, now=now))


def _watch(reader: RunReader, console: Console) -> None:
    """Keep the terminal up to date until the run is over, or somebody ends it."""
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while not (state := reader.look()).ended:
            live.update(status_of(state, now=datetime.now(UTC)), refresh=True)
            time.sleep(LOOK_SECONDS)


@app.command()
def dashboard(
    runs: Runs = Path("runs"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8765,
    password_file: Annotated[
        Path | None, typer.Option(help="File with the login's password, readable by its owner alone.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate chain, PEM.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="The key of the certificate.")] = None,
    behind_proxy: Annotated[bool, typer.Option(help="A proxy in front speaks TLS with visitors.")] = False,
) -> None:
    """Show runs on a web page, as they go and afterwards; on this machine alone, if not told otherwise."""
    listening = Listening(
        host=host, port=port, password_file=password_file, certificate=certificate, private_key=private_key,
        behind_proxy=behind_proxy,
    )  # fmt: skip
    with plain_errors():
        page = make_dashboard(runs, password=listening.password())
        taken = bind(listening)
    typer.echo(f"The dashboard is at {listening.address}:{taken.getsockname()[1]}/ until you press Ctrl-C.")
    serve(page, taken, listening)


@app.command()
def metrics(runs: Runs = Path("runs")) -> None:
    """Print the metrics of runs in Prometheus' text format; the dashboard has them under /metrics."""
    with plain_errors():
        states = {name: RunReader(folder).look() for name, folder in find_runs(runs).items()}
    text, _ = metrics_text(states, now=datetime.now(UTC))
    typer.echo(text.decode(), nl=False)


@app.command(name="export-tensorboard")
def export_tensorboard(
    run: Runs,
    out: Annotated[Path, typer.Argument(help="Folder for the event files.")],
    follow: Annotated[bool, typer.Option(help="Go on until the run is over.")] = False,
) -> None:
    """Write a run's curves and scores as event files of TensorBoard."""
    with plain_errors():
        count = export(RunReader(latest_run(run)), TensorBoardFiles(out), follow=follow)
    typer.echo(f"{count} numbers are in {out}. Look at them: tensorboard --logdir {out}")


@app.command(name="export-mlflow")
def export_mlflow(
    run: Runs,
    uri: Annotated[str, typer.Argument(help="Tracking server or database: sqlite:///mlflow.db")],
    follow: Annotated[bool, typer.Option(help="Go on until the run is over.")] = False,
) -> None:
    """Write a run's plan, curves and scores into a new run of MLflow."""
    with plain_errors():
        reader = RunReader(latest_run(run))
        count = export(reader, MlflowRun(uri, name=reader.folder.resolve().name), follow=follow)
    typer.echo(f"{count} numbers are at {without_credentials(uri)}.")
