"""A whole plan without any hospital: the real server and sites, in this process, with made-up patients."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from deploy.preflight.made_up import PARTS, made_up_hospitals
from deploy.preflight.traffic import Traffic
from lego_core.errors import LegoError
from lego_core.plan import Fuse, RunPlan
from lego_core.records import ModalitySchema
from lego_core.run_report import RunReport
from simulations.in_process import run_in_process
from simulations.make_sites import MadeSite, write_sites

ENOUGH = 1e9  # of epsilon, for patients who do not exist
TRAIN = PARTS.count("train")


@final
@dataclass(frozen=True)
class DryRun:
    """A dry run that has ended.

    Args:
        plan: The whole plan.
        hospitals: Who played, in the order of their numbers.
        traffic: What went to and fro.
        problem: Why it did not come to its end; empty if it did.
        refused: Who was left out of what, and why.
    """

    plan: RunPlan
    hospitals: tuple[MadeSite, ...]
    traffic: Traffic
    problem: str
    refused: tuple[str, ...]


def play_dry(
    plan: RunPlan, schemas: Mapping[str, ModalitySchema], folder: Path, *, sites: int | None = None
) -> DryRun:
    """Play every question of a plan once, one step of training each.

    Args:
        plan: The run; one that cannot be is refused when it is read.
        schemas: Layout and features of every modality.
        folder: An empty folder, for hospitals, diary and bundle.
        sites: How many hospitals, each with every modality; the plan's own hospitals if not given.

    Raises:
        PlanError: If the plan does not say enough to play it.
    """
    hospitals = made_up_hospitals(plan, schemas, sites=sites)
    short = shortened(plan, sites=len(hospitals))
    made = write_sites(short, hospitals, folder / "sites")
    traffic, problem = Traffic(plan), ""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    try:
        run_in_process(
            plan.name,
            sites=len(made),
            sites_dir=folder / "sites",
            output=folder / "output",
            fault=traffic.listen,
        )
    except LegoError as error:
        problem = error.public
    return DryRun(plan, tuple(made), traffic, problem, tuple(_refused(folder / "output")))


def shortened(plan: RunPlan, *, sites: int) -> RunPlan:
    """The same plan with one round of each kind, and one step in it; its models and sums are the same."""
    noise = {"steps": 1, "epsilon": ENOUGH, "batch_size": TRAIN // 2}
    privacy = plan.privacy.model_copy(update=noise) if plan.privacy.noise_terms else plan.privacy
    once = {"rounds": 1, "seed_rounds": min(1, plan.rounds.seed_rounds), "local_epochs": 1}
    training = {"epochs": 1, "batch_size": TRAIN, "gradient_accumulation": 1}
    wait = {"sites": sites, "wait_seconds": 1.0, "round_seconds": 600.0}
    changed = plan.model_copy(
        update={
            "privacy": privacy,
            "rounds": plan.rounds.model_copy(update=once),
            "training": plan.training.model_copy(update=training),
            "fuse": plan.fuse and Fuse(order=plan.fuse.order, rounds=1, local_epochs=1, batch_size=TRAIN),
            "evaluation": plan.evaluation.model_copy(update={"smallest_count": 2}),
            "participation": plan.participation.model_copy(update=wait),
            "simulation": None,
        }
    )
    return RunPlan.model_validate(changed.to_plain())


def _refused(output: Path) -> list[str]:
    for name in ("report.json", "bundle/report.json"):
        if (output / name).is_file():
            report = RunReport.model_validate_json((output / name).read_bytes())
            return [f"{one.site}, {one.phase} {one.modality}: {one.reason}" for one in report.left_out]
    return []
