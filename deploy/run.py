"""`run`: hand a plan to the federation, show how it goes, and say how it ended.

Flower's own exit code is 0 even when a run failed, so its list of runs is asked, and the bundle looked at.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from deploy.code_bundle import ROOT, build_code_bundle
from deploy.coordinator import ROSTER, Coordinator
from deploy.flower_cli import FlowerCli
from lego_core.errors import RunError
from lego_core.manifest import read_manifest
from lego_core.plan import RunPlan
from lego_core.report import result_table, summary_lines
from lego_core.report.progress import LOOK_SECONDS, Watch
from lego_core.run_report import RunReport

QUIET_SECONDS = 10.0  # after this long without an event, Flower is asked how the run is
COMPLETED = "finished:completed"


@dataclass(frozen=True)
class HandedOver:
    """A run that Flower has taken.

    Args:
        run_id: Flower's number for it.
        code_sha256: Hash of the code bundle that it runs.
        output: Where the coordinator writes.
    """

    run_id: str
    code_sha256: str
    output: Path


def hand_over(coordinator: Coordinator, plan: str, *, output: Path, app: Path = ROOT) -> HandedOver:
    """Give a plan to the federation.

    Args:
        coordinator: Its folder; its programs must run.
        plan: A plan in the code bundle, by name.
        output: Where the run writes; nothing may be there.
        app: The checkout whose code runs.

    Raises:
        PlanError: If there is no such plan.
        RunError: If something is there already, or Flower does not take the run.
    """
    RunPlan.shipped(plan)  # a name that is wrong is told here, and not by every site
    if output.exists() and any(output.iterdir()):
        raise RunError(
            f"There is something at '{output.name}' already, and a run writes over nothing. Name another "
            "folder with --output.",
            local=str(output),
        )
    output.mkdir(parents=True, exist_ok=True)
    folder = coordinator.folder
    run_config = {
        "plan": plan,
        "output": str(output),
        "bundle-key": str(folder / "secrets" / "bundle.key"),
        "roster": str(folder) if (folder / ROSTER).is_file() else "",
    }
    code = build_code_bundle(app).sha256
    return HandedOver(FlowerCli(folder).submit(app, run_config=run_config), code, output)


def watch_to_its_end(
    run: HandedOver, *, flower: FlowerCli, console: Console, check: Callable[[], None] = lambda: None
) -> str:
    """Show a run until it has ended, and give what went wrong, if anything did.

    Args:
        run: The run.
        flower: Who knows how it is.
        console: Where to show it.
        check: Called again and again; raises if there is no point in waiting any longer.
    """
    with Watch(run.output / "run.jsonl", console) as watch:
        asked = time.monotonic()
        while True:
            watch.look()
            check()
            quiet = time.monotonic() - max(asked, watch.last_event)
            if watch.state.ended or quiet > QUIET_SECONDS:
                status, details = flower.status(run.run_id)
                asked = time.monotonic()
                if status.startswith("finished"):
                    watch.look()
                    break
            time.sleep(LOOK_SECONDS)
    if status != COMPLETED:
        return watch.state.reason or f"Flower says {status}: {details}"
    if not watch.state.status.startswith("complete"):
        return watch.state.reason or "it did not come to its end"
    return ""


def show_result(coordinator: Coordinator, run: HandedOver, *, problem: str, console: Console) -> bool:
    """Show what came of a run, and say whether it came to a bundle that bears the federation's signature.

    Raises:
        BundleError: If there is a bundle that does not hold.
    """
    bundle = run.output / "bundle"
    if problem or not (bundle / "report.json").is_file():
        what = problem or "there is no bundle"
        console.print(Text(f"The run failed: {what}", style="bold red"), soft_wrap=True)
    else:
        read_manifest(bundle, trusted_keys=[coordinator.federation.bundle_key])
        report = RunReport.model_validate_json((bundle / "report.json").read_bytes())
        console.print(result_table(report))
        for line in summary_lines(report):
            console.print(line)
    there = {"report.html": "report", "bundle": "signed bundle", "run.jsonl": "diary"}
    for name, what in there.items():
        if (run.output / name).exists():
            console.print(Text(f"{what}: {run.output / name}"), soft_wrap=True)
    return not problem and bundle.is_dir()


def weights_hash(output: Path) -> str:
    """Hash of all weights of the bundle that a run handed over.

    Raises:
        BundleError: If there is none, or it does not hold.
    """
    return read_manifest(output / "bundle").files["weights.safetensors"]
