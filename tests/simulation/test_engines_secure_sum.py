"""The secure sum over Flower's own engine: what comes of it is what one process comes to."""

import json
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from rich.console import Console

from lego_core.bundle import ModelBundle
from lego_core.plan import Evaluation, Fuse, Rounds, RunPlan
from simulations.make_sites import make_sites
from simulations.processes import MARK
from simulations.run import Engine, run_federation


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[Engine, Path]:
    """The same hospitals, run by each engine."""
    folder = tmp_path_factory.mktemp("both")
    shipped = RunPlan.shipped("pbc-secure-sum")
    short = {
        "rounds": Rounds(rounds=2, local_epochs=1),
        "fuse": Fuse(rounds=1),
        "evaluation": Evaluation(bootstrap=20),
    }
    make_sites(shipped.model_copy(update=short), folder / "hospitals")
    outputs: dict[Engine, Path] = {"ray": folder / "flower", "in-process": folder / "here"}
    for engine, output in outputs.items():
        shutil.copytree(folder / "hospitals", output / "sites")
        assert run_federation(output, engine=engine, console=Console(quiet=True))
    return outputs


@pytest.mark.slow
def test_sums_over_flower_come_to_the_weights_of_a_single_process_bit_for_bit(outputs):
    there, here = (ModelBundle.load(output / "bundle").models.state_dict() for output in outputs.values())

    assert there.keys() == here.keys()
    assert all(torch.equal(there[name], here[name]) for name in there)


@pytest.mark.slow
def test_reports_tell_the_same_but_for_the_time(outputs):
    there, here = (
        ModelBundle.load(output / "bundle").report.model_dump(exclude={"started", "seconds"})
        for output in outputs.values()
    )

    assert there["status"] == "complete"
    assert there["results"]
    assert there == here


@pytest.mark.slow
def test_the_same_sums_were_opened_over_the_same_sites(outputs):
    there, here = (sums_in(output) for output in outputs.values())

    assert all(len(one["sites"]) >= 3 for one in there)
    assert {str(one["sum"]).split("/")[0] for one in there} >= {"statistics", "outcomes", "blocks", "fused"}
    assert there == here


@pytest.mark.slow
def test_nothing_of_flower_is_left_behind(outputs):
    assert not [one for one in psutil.process_iter(["environ"]) if MARK in (one.info["environ"] or {})]


def sums_in(output: Path) -> list[dict[str, Any]]:
    """What was opened, of whom, and its hash; without what a chained log adds to each line."""
    lines = (output / "run.jsonl").read_text(encoding="utf-8").splitlines()
    opened = [event for event in map(json.loads, lines) if event["event"] == "sum-opened"]
    return [{key: one[key] for key in ("phase", "round", "sum", "sites", "sha256")} for one in opened]
