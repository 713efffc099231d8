"""A federation small enough for a test: a tiny plan, tiny site folders, one process."""

import json
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.common.serde import message_to_proto
from safetensors.torch import load_file
from torch import Tensor

from client.records import read_letter
from client.site import read_site_file
from lego_core.bundle import ModelBundle
from lego_core.errors import LegoError
from lego_core.plan import RunPlan
from lego_core.protocol import Letter
from lego_core.records import Cohort
from lego_core.run_report import LeftOut, RunReport
from lego_core.split import split_by_patient
from server.app import app as server_app
from simulations.in_process import (
    FIRST_NODE_ID,
    RUN_ID,
    SERVER_NODE_ID,
    Fault,
    InProcessGrid,
    RunConfig,
    answer_faithfully,
)
from simulations.make_sites import make_sites

TINY = """
name = "tiny"
seed = 3

[task]
kind = "classification"
classes = ["0", "1"]

[privacy]
kind = "no-privacy"

[modalities.clinical.encoder]
kind = "tabular"
token-dim = 4
num-tokens = 1
hidden-dims = [4]

[modalities.blood.encoder]
kind = "tabular"
token-dim = 4
num-tokens = 1
hidden-dims = [4]

[latent]
num-latents = 2
latent-dim = 4
num-heads = 1
depth = 1

[rounds]
rounds = 2
local-epochs = 1

[evaluation]
bootstrap = 20

[participation]
wait-seconds = 0.1
round-seconds = 60

[simulation.data]
kind = "synthetic"
patients = 200
outcome = { kind = "class" }
modalities = { clinical = { layout = "table", features = 3 }, blood = { layout = "table", features = 2 } }

[[simulation.groups]]
name = "clinic"
modalities = ["clinical"]
hospitals = 2
split = { train = 0.8, validation = 0.2, test = 0.0 }

[[simulation.groups]]
name = "lab"
modalities = ["blood"]
split = { train = 0.8, validation = 0.2, test = 0.0 }

[[simulation.groups]]
name = "teaching"
modalities = ["clinical", "blood"]
share = 2
split = { train = 0.4, validation = 0.2, test = 0.4 }
"""

CLINICS_ONLY = """
[modalities.clinical.encoder]
kind = "tabular"
[simulation.data]
modalities = {{ clinical = {{ layout = "table", features = 3 }} }}
patients = {patients}
[[simulation.groups]]
name = "clinic"
modalities = ["clinical"]
hospitals = {hospitals}
split = {{ train = 0.5, validation = 0.1, test = 0.4 }}
"""


def tiny_plan(changes: str = "") -> RunPlan:
    """The tiny plan, with what some TOML text puts in its place; a table put in is merged."""
    return RunPlan.model_validate(_merged(tomllib.loads(TINY), tomllib.loads(changes)))


def clinics_only(changes: str = "", *, hospitals: int, patients: int = 120) -> RunPlan:
    """The tiny plan with clinics of one modality only, each with test patients of its own."""
    plain = tomllib.loads(TINY)
    del plain["modalities"]["blood"], plain["simulation"]["data"]["modalities"]["blood"]
    clinics = tomllib.loads(CLINICS_ONLY.format(hospitals=hospitals, patients=patients))
    return RunPlan.model_validate(_merged(_merged(plain, clinics), tomllib.loads(changes)))


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = {
        key: _merged(one[key], value) if isinstance(value, dict) and isinstance(one.get(key), dict) else value
        for key, value in other.items()
    }
    return {**one, **merged}


@dataclass(frozen=True)
class Rehearsal:
    """A run that has ended, well or not."""

    plan: RunPlan
    output: Path
    sites: Path
    report: RunReport
    error: LegoError | None

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of the run's diary."""
        lines = (self.output / "run.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def bundle(self) -> ModelBundle:
        """What the run handed over."""
        return ModelBundle.load(self.output / "bundle")

    @property
    def weights_hash(self) -> str:
        """Hash of every weight the run handed over."""
        manifest = json.loads((self.output / "bundle" / "manifest.json").read_bytes())
        return manifest["files"]["weights.safetensors"]

    def checkpoint(self, round_number: int, name: str, *, phase: str = "blocks") -> dict[str, Tensor]:
        """A model as it was after a round."""
        folder = self.output / "checkpoints" / f"{phase}-round-{round_number:03d}"
        return load_file(folder / f"{name}.safetensors")

    def left_out(self, site: str, *, phase: str = "", round_number: int | None = None) -> list[LeftOut]:
        """What a site took no part in."""
        return [
            one
            for one in self.report.left_out
            if one.site == site and phase in ("", one.phase) and round_number in (None, one.round)
        ]

    def patients(self, number: int) -> Cohort:
        """The patients of a site, as the site reads them."""
        folder = self.sites / f"site-{number}"
        cohort = read_site_file(folder / "site.toml").data.load(folder)
        return split_by_patient(cohort, self.plan.split, task=self.plan.task, seed=self.plan.seed)

    def local_log(self, number: int) -> str:
        """What a site wrote for its own operator."""
        return (self.sites / f"site-{number}" / "site.log").read_text(encoding="utf-8")


Run = Callable[..., Rehearsal]


def rehearse(
    plan: RunPlan,
    folder: Path,
    *,
    fault: Fault = answer_faithfully,
    prepare: Callable[[Path], None] = lambda _: None,
    grid: type[InProcessGrid] = InProcessGrid,
    sites: int | None = None,
) -> Rehearsal:
    """Make the plan's sites, run the whole federation over them, and tell what came of it.

    Args:
        plan: What to do; its `[simulation]` tells the sites.
        folder: An empty folder.
        fault: What goes wrong between server and sites.
        prepare: Is given the folder of sites before the run starts, to damage them.
        grid: The connection.
        sites: How many of the sites come; all if not given.
    """
    sites_dir, output = folder / "sites", folder / "output"
    made = make_sites(plan, sites_dir)
    prepare(sites_dir)
    run_config: RunConfig = {"plan": plan.name, "sites-dir": str(sites_dir), "output": str(output)}
    connection = grid(sites or len(made), run_config=run_config, fault=fault)
    context = Context(
        run_id=RUN_ID, node_id=SERVER_NODE_ID, node_config={}, state=RecordDict(), run_config=run_config
    )
    error = None
    try:
        server_app(connection, context)
    except LegoError as raised:
        error = raised
    report = RunReport.model_validate_json(
        (output / ("report.json" if error else "bundle/report.json")).read_bytes()
    )
    return Rehearsal(plan, output, sites_dir, report, error)


@dataclass(frozen=True)
class Sent:
    """A message that left a site, read as the server reads it and as the network carries it."""

    site: int
    letter: Letter | None
    bytes_sent: bytes


class ListeningGrid(InProcessGrid):
    """A connection on which every byte that leaves a site is overheard."""

    overheard: list[Sent]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        replies = super().pull_messages(message_ids)
        for reply in replies:
            letter = read_letter(reply) if reply.has_content() else None
            site = reply.metadata.src_node_id - FIRST_NODE_ID
            self.overheard.append(Sent(site, letter, message_to_proto(reply).SerializeToString()))
        return replies


def listening_grid() -> type[ListeningGrid]:
    """A listening connection with a fresh memory."""
    return type("FreshListeningGrid", (ListeningGrid,), {"overheard": []})
