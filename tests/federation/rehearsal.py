"""A federation small enough for a test: tiny site folders, one process, and all that can be seen of a run."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, RecordDict
from listening import ListeningGrid, Overheard
from torch import Tensor

from client.site import read_site_file
from lego_core import LegoBlock, LegoMerge
from lego_core.bundle import ModelBundle
from lego_core.errors import LegoError
from lego_core.evaluation import EvaluationReport, PooledScore
from lego_core.letters import AbstractMessage
from lego_core.plan import RunPlan
from lego_core.records import Cohort
from lego_core.run_report import LeftOut, RunReport
from lego_core.split import split_by_patient
from server import checkpoint
from server.app import app as server_app
from server.checkpoint import read_checkpoint
from simulations.in_process import RUN_ID, SERVER_NODE_ID, Fault, RunConfig, answer_faithfully
from simulations.make_sites import make_sites


@dataclass(frozen=True)
class Rehearsal:
    """A run that has ended, well or not."""

    plan: RunPlan
    output: Path
    sites: Path
    report: RunReport
    error: LegoError | None
    wire: ListeningGrid

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
    def merged(self) -> LegoMerge:
        """The merge that the run handed over."""
        return self.bundle.models.merged

    @property
    def blocks(self) -> list[LegoBlock]:
        """The blocks that the run handed over."""
        return list(self.merged.blocks.values())

    @property
    def weights_hash(self) -> str:
        """Hash of every weight the run handed over."""
        manifest = json.loads((self.output / "bundle" / "manifest.json").read_bytes())
        return manifest["files"]["weights.safetensors"]

    def checkpoint(self, round_number: int, name: str, *, phase: str = "blocks") -> dict[str, Tensor]:
        """A model as it was after a round."""
        (folder,) = (self.output / "checkpoints").glob(f"*-{phase}-round-{round_number:03d}")
        return dict(read_checkpoint(folder).tensors[name])

    @property
    def results(self) -> EvaluationReport:
        """How well the models did, in a run that came so far."""
        assert self.report.results is not None, self.report.reason
        return self.report.results

    def scores(
        self, *, patients: str = "", method: str = "", modalities: tuple[str, ...] = ()
    ) -> list[PooledScore]:
        """How well the models did, as far as it was asked for; something must have been scored."""
        found = [
            one
            for one in self.results.scores
            if patients in ("", one.patients)
            and method in ("", one.method)
            and modalities in ((), one.modalities)
        ]
        assert found, self.results.scores
        return found

    def left_out(self, site: str, *, phase: str = "", round_number: int | None = None) -> list[LeftOut]:
        """What a site took no part in."""
        return [
            one
            for one in self.report.left_out
            if one.site == site and phase in ("", one.phase) and round_number in (None, one.round)
        ]

    def asked(self, kind: type[AbstractMessage], *, site: int | None = None) -> list[Overheard]:
        """The questions of one kind, in their order: to all sites, or to one."""
        return [one for one in self.wire.asked if site in (None, one.site) and one.is_a(kind)]

    def answered(self, kind: type[AbstractMessage], *, site: int | None = None) -> list[Overheard]:
        """The answers of one kind, in their order: from all sites, or from one."""
        return [one for one in self.wire.answered if site in (None, one.site) and one.is_a(kind)]

    def patients(self, number: int) -> Cohort:
        """The patients of a site, as the site reads them."""
        folder = self.sites / f"site-{number}"
        cohort = read_site_file(folder / "site.toml").data.load(folder)
        return split_by_patient(cohort, self.plan.split, task=self.plan.task, seed=self.plan.seed)

    def local_log(self, number: int) -> str:
        """What a site wrote for its own operator."""
        return (self.sites / f"site-{number}" / "site.log").read_text(encoding="utf-8")

    def assert_predicts_as(self, expected: LegoMerge, *, number: int) -> None:
        """The bundle says of a site's patients what a merge says, of all modalities and of each alone."""
        patients = self.patients(number)
        alone = [patients.only(block.modality) for block in self.blocks]
        for batch in [cohort.batch() for cohort in (patients, *alone)]:
            with torch.no_grad():
                said, wanted = self.bundle.model(batch), expected.eval()(batch)
            torch.testing.assert_close(said, wanted, rtol=1e-5, atol=1e-6)


Run = Callable[..., Rehearsal]


def rehearse(
    plan: RunPlan,
    folder: Path,
    *,
    fault: Fault = answer_faithfully,
    prepare: Callable[[Path], None] = lambda _: None,
    grid: type[ListeningGrid] = ListeningGrid,
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
    wire = grid(sites or len(made), run_config=run_config, fault=fault)
    context = Context(
        run_id=RUN_ID, node_id=SERVER_NODE_ID, node_config={}, state=RecordDict(), run_config=run_config
    )
    error = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "KEEP", 1000)  # tests look at every round
        try:
            server_app(wire, context)
        except LegoError as raised:
            error = raised
    report = RunReport.model_validate_json(
        (output / ("report.json" if error else "bundle/report.json")).read_bytes()
    )
    return Rehearsal(plan, output, sites_dir, report, error, wire)
