"""A coordinator and sites on one machine, made as real ones are: they are founded, join, and are approved."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import tomli_w

from client.rules import SiteRules
from client.site import SiteFile, read_site_file
from deploy._terminal import today
from deploy.approval import approve
from deploy.approved_code import approve_code
from deploy.code_bundle import ROOT, CodeBundle, build_code_bundle
from deploy.coordinator import Coordinator
from deploy.founding import found_federation
from deploy.joining import join_federation
from deploy.kit import make_kit
from deploy.request import read_request
from deploy.service import free_port
from lego_core.errors import RunError
from lego_core.plan import RunPlan

HOST = "localhost"
FROM_THE_KIT = ("ca.crt", "governance.json", "roster.json")


@dataclass(frozen=True)
class Institutions:
    """Everybody's folders, with nothing running yet.

    Args:
        coordinator: The coordinator's.
        sites: The sites', by name.
        bundle: The code that all sites have approved.
    """

    coordinator: Coordinator
    sites: dict[str, Path]
    bundle: CodeBundle


def make_institutions(plan: str, folder: Path, *, say: Callable[[str], None]) -> Institutions:
    """Found a federation of a plan's hospitals.

    Args:
        plan: A shipped plan with hospitals to play.
        folder: A new folder, for all of them.
        say: Is told what is done, in the words of the commands that do it.

    Raises:
        LegoError: If there is no such plan, or a step fails.
    """
    played = _play_hospitals(plan, folder / "hospitals")
    say(f"python -m deploy init coordinator --host {HOST}")
    coordinator = folder / "coordinator"
    found_federation(
        coordinator, name=plan, hosts=[HOST], port=free_port(), superlink_port=free_port(), governors=2,
        governance_keys=[], needed=None, today=today(),
    )  # fmt: skip
    opened = Coordinator.open(coordinator)
    sites = {name: folder / "sites" / name for name in played}
    for name, home in sites.items():
        say(f"python -m deploy join sites/{name}; then approve, at the coordinator's")
        join_federation(home, site=name, federation_file=coordinator / "federation.toml", today=today())
        approve(opened, read_request(home / "request.json"), today=today())
    say("python -m deploy bundle; then approve-bundle, at every site")
    bundle = build_code_bundle()
    for name, home in sites.items():
        kit = folder / "kits" / name
        make_kit(opened, name, output=kit, home=PurePosixPath(home), runtime_port=9094, now=datetime.now(UTC))
        for file in FROM_THE_KIT:
            shutil.copy2(kit / file, home / file)
        _move_in(played[name], home, plan=RunPlan.shipped(plan))
        approve_code(home, bundle, today=today())
    return Institutions(opened, sites, bundle)


def _play_hospitals(plan: str, folder: Path) -> dict[str, Path]:
    """Deal a plan's patients out to hospitals, and give their folders, by name."""
    command = [sys.executable, "-m", "simulations", "sites", plan, "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(
            f"The hospitals of plan '{plan}' could not be made. Try 'python -m simulations sites {plan}'.",
            local=done.stdout + done.stderr,
        )
    made = json.loads((folder / "hospitals.json").read_text(encoding="utf-8"))
    return {one["site"]: folder / one["folder"] for one in made}


def _move_in(played: Path, home: Path, *, plan: RunPlan) -> None:
    """Fill a site's folder with a played hospital's tables, and its site.toml with where they lie."""
    for table in played.iterdir():
        if table.name not in {"site.toml", "identity.key"}:
            shutil.copy2(table, home / table.name)
    hospital, joined = read_site_file(played / "site.toml"), read_site_file(home / "site.toml")
    site = SiteFile(
        name=joined.name, data=hospital.data, device="cpu", threads=1, identity=joined.identity,
        rules=SiteRules(privacy=(plan.privacy.kind,)),
    )  # fmt: skip
    (home / "site.toml").write_text(tomli_w.dumps(site.to_plain()), encoding="utf-8")
