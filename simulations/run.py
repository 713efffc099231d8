"""Rehearse a plan: make its hospitals, run the federation, show what came of it.

This process stays small while the federation runs: patients are read and dealt out in a process
of its own, and Flower is imported only where it runs.
"""

import json
import logging
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from lego_core.errors import LegoError, RunError
from lego_core.report import result_table, summary_lines
from lego_core.report.progress import LOOK_SECONDS, Watch
from lego_core.run_report import RunReport
from simulations.flower import ROOT, flower_running, stage_app

Engine = Literal["ray", "in-process"]

QUIET_SECONDS = 10.0  # after this long without an event, Flower is asked how the run is
SILENT_SECONDS = 600.0  # after this long, nobody will ever write one
WRITTEN = {"hospitals.json", "sites", "run.jsonl"}  # what a rehearsal leaves behind, and nobody else


def make_room(folder: Path, *, overwrite: bool) -> None:
    """Make sure that a folder is there and empty.

    Raises:
        RunError: If it holds something, unless it is an earlier rehearsal and may go.
    """
    here = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if here and not overwrite:
        raise RunError(
            f"The folder '{folder.name}' is not empty. Name another one with --output, or add --overwrite."
        )
    if here and not here & WRITTEN:
        raise RunError(
            f"The folder '{folder.name}' holds files that no rehearsal has written, so --overwrite leaves it "
            "alone. Name another one with --output."
        )
    if here:
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def check_begun(folder: Path) -> None:
    """Make sure that a folder holds a rehearsal that could be resumed.

    Raises:
        RunError: If it does not.
    """
    missing = [name for name in ("sites/plan.toml", "run.jsonl") if not (folder / name).is_file()]
    if missing:
        raise RunError(
            f"There is no rehearsal to resume in '{folder.name}': it has no '{missing[0]}'. Name its folder "
            "with --output, or leave --resume out."
        )


def prepare(plan: str, output: Path, *, data: Path | None, seed: int | None) -> int:
    """Make the site folders in a process of its own, and give its exit code."""
    named = str(Path(plan).absolute()) if Path(plan).is_file() else plan
    command = [sys.executable, "-m", "simulations", "sites", named, "--output", str(output / "sites")]
    command += ["--data", str(data)] if data else []
    command += ["--seed", str(seed)] if seed is not None else []
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def run_federation(output: Path, *, engine: Engine, console: Console, resume: bool = False) -> bool:
    """Run the coordinator and the sites that lie in a folder, and show what came of it.

    Args:
        output: The folder; `sites` must be in it.
        engine: `ray` is Flower's own; `in-process` has no processes and no network.
        console: Where to show it.
        resume: Whether it goes on where it broke off before.

    Returns:
        Whether it ended well.

    Raises:
        RunError: If the engine fails, which is not the same as a run that fails.
    """
    plan = tomllib.loads((output / "sites" / "plan.toml").read_text(encoding="utf-8"))["name"]
    sites = len(json.loads((output / "sites" / "hospitals.json").read_text(encoding="utf-8")))
    with Watch(output / "run.jsonl", console) as watch:
        play = _play_with_flower if engine == "ray" else _play_in_process
        problem = play(plan, output, sites=sites, watch=watch, resume=resume)
    return _show_result(output, problem=problem or _unfinished(watch), console=console)


def _play_with_flower(plan: str, output: Path, *, sites: int, watch: Watch, resume: bool) -> str:
    """Run with Flower's engine, and give the problem if there was one."""
    app = stage_app(output / "app")
    run_config = {
        "plan": plan, "sites-dir": str(output / "sites"), "output": str(output), "resume": resume
    }  # fmt: skip
    with flower_running(output / "flower.log") as flower:
        run_id = flower.submit(app, sites=sites, run_config=run_config)
        asked = time.monotonic()
        while True:
            watch.look()
            quiet = time.monotonic() - max(asked, watch.last_event)
            if watch.state.ended or quiet > QUIET_SECONDS:
                status, details = flower.status(run_id)
                asked = time.monotonic()
                if status.startswith("finished"):
                    watch.look()
                    return "" if status == "finished:completed" else f"Flower says {status}: {details}"
            if time.monotonic() - watch.last_event > SILENT_SECONDS:
                raise RunError(
                    f"The coordinator has written nothing for {SILENT_SECONDS:g} seconds. See flower.log."
                )
            time.sleep(LOOK_SECONDS)


def _play_in_process(plan: str, output: Path, *, sites: int, watch: Watch, resume: bool) -> str:
    """Run everything here, and give the problem if there was one."""
    from simulations.in_process import run_in_process  # brings Flower

    logging.getLogger("flwr").setLevel(logging.WARNING)  # the watch says the same from the diary

    with watch.looking():
        try:
            run_in_process(plan, sites=sites, sites_dir=output / "sites", output=output, resume=resume)
        except LegoError as error:
            return error.public
    return ""


def _unfinished(watch: Watch) -> str:
    state = watch.state
    return "" if state.status.startswith("complete") else state.reason or "it did not come to its end"


def _show_result(output: Path, *, problem: str, console: Console) -> bool:
    written = output / "bundle" / "report.json"
    if problem or not written.is_file():
        console.print(
            Text(f"The run failed: {problem or 'there is no bundle'}", style="bold red"), soft_wrap=True
        )
    else:
        report = RunReport.model_validate_json(written.read_bytes())
        console.print(result_table(report))
        for line in summary_lines(report):
            console.print(line)
    for name in on_disk(output):
        console.print(Text(name), soft_wrap=True)
    return not problem and written.is_file()


def on_disk(output: Path) -> list[str]:
    """What a rehearsal has left in its folder so far, a line each."""
    left = {
        "report.html": "the report",
        "bundle": "the model",
        "run.jsonl": "the diary",
        "checkpoints": "the rounds that were finished",
        "flower.log": "what Flower said",
        "sites": "the hospitals",
    }
    return [f"{what}: {output / name}" for name, what in left.items() if (output / name).exists()]
