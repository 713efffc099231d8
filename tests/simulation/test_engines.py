"""One tiny plan on both engines: the same weights, bit for bit, and nothing left behind."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from rich.console import Console

from lego_core.errors import DataError
from lego_core.plan import RunPlan
from simulations.in_process import InProcessGrid, over_the_wire, run_in_process
from simulations.make_sites import make_sites
from simulations.processes import MARK
from simulations.run import Engine, run_federation

PLAN = """
name = "tiny"
seed = 5
task = { kind = "survival", num-bins = 3 }
privacy = { kind = "no-privacy" }
rounds = { rounds = 2, local-epochs = 1 }
fuse = { rounds = 1 }
evaluation = { bootstrap = 20, smallest-count = 5 }

[modalities.clinical.encoder]
kind = "tabular"
token-dim = 8
hidden-dims = [8]

[modalities.laboratory.encoder]
kind = "time_series"
token-dim = 8
time-unit-days = 365.0

[latent]
num-latents = 2
latent-dim = 8
num-heads = 2

[simulation]
data = { kind = "synthetic", patients = 120 }

[[simulation.groups]]
name = "clinic"
modalities = ["clinical"]
hospitals = 2
share = 2

[[simulation.groups]]
name = "laboratory"
modalities = ["laboratory"]

[[simulation.groups]]
name = "teaching-hospital"
modalities = ["clinical", "laboratory"]
share = 2
split = { train = 0.4, validation = 0.2, test = 0.4 }
"""
NUM_SITES = 4


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hospitals")
    make_sites(RunPlan.parse(PLAN, where="Plan 'tiny'"), folder)
    return folder


@pytest.fixture
def output(hospitals: Path, tmp_path: Path) -> Path:
    shutil.copytree(hospitals, tmp_path / "sites")
    return tmp_path


def content_of(kind: str) -> RecordDict:
    return RecordDict({"letter": ConfigRecord({"kind": kind})})


def weights_hash(output: Path) -> str:
    return hashlib.sha256((output / "bundle" / "weights.safetensors").read_bytes()).hexdigest()


def events(output: Path, name: str) -> list[dict[str, object]]:
    lines = (output / "run.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == name]


def run_here(output: Path, fault: Callable[..., Message | None] | None = None) -> None:
    faults = {} if fault is None else {"fault": fault}
    run_in_process("tiny", sites=NUM_SITES, sites_dir=output / "sites", output=output, **faults)


def test_flower_and_a_single_process_come_to_the_same_weights(output: Path, hospitals: Path) -> None:
    here = output / "here"
    shutil.copytree(hospitals, here / "sites")
    console = Console(quiet=True)

    ended_well = [
        run_federation(output, engine="ray", console=console),
        run_federation(here, engine="in-process", console=console),
    ]

    assert ended_well == [True, True]
    assert weights_hash(output) == weights_hash(here)
    assert not [p for p in psutil.process_iter(["environ"]) if MARK in (p.info["environ"] or {})]


def test_a_second_run_comes_to_the_same_weights(output: Path, hospitals: Path) -> None:
    run_here(output)
    first = weights_hash(output)
    again = output / "again"
    shutil.copytree(hospitals, again / "sites")

    run_here(again)

    assert weights_hash(again) == first


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "in-process"])
def test_a_rehearsal_that_was_stopped_goes_on_to_the_same_weights(
    output: Path, hospitals: Path, engine: Engine
) -> None:
    def stop(site: int, message: Message, answer: Callable[[], Message]) -> Message:
        if message.metadata.message_type == "train.fuse":
            raise KeyboardInterrupt
        return answer()

    whole = output / "whole"
    shutil.copytree(hospitals, whole / "sites")
    run_here(whole)
    with pytest.raises(KeyboardInterrupt):
        run_here(output, stop)

    assert run_federation(output, engine=engine, console=Console(quiet=True), resume=True)

    assert weights_hash(output) == weights_hash(whole)
    assert [one["checkpoint"] for one in events(output, "resumed")] == ["0006-merged"]


def test_a_site_that_raises_is_left_out_with_the_reply_of_flower(output: Path) -> None:
    def fail(site: int, message: Message, answer: Callable[[], Message]) -> Message:
        if site == 0 and message.metadata.message_type == "train.block":
            raise DataError("The disk is full.")
        return answer()

    run_here(output, fail)

    left = events(output, "left-out")
    assert {event["site"] for event in left} == {"clinic-1"}
    assert "DataError" in str(left[0]["reason"])
    assert "The disk is full." in str(left[0]["reason"])
    assert events(output, "finished")[0]["status"] == "complete-with-absences"


def test_a_run_that_fails_is_reported_as_failed(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for site in (output / "sites").glob("site-*/site.toml"):
        site.write_text("this is not TOML")

    assert not run_federation(output, engine="in-process", console=Console(width=300))

    assert "The run failed: None of 4 sites takes part in plan 'tiny'." in capsys.readouterr().out


def test_a_site_that_never_answers_has_no_reply(output: Path) -> None:
    grid = InProcessGrid(2, run_config={"plan": "tiny"}, fault=lambda *_: None)
    message = grid.create_message(content_of("hello"), "query.offer", grid.get_node_ids()[0], "")

    replies = grid.send_and_receive([message], timeout=1)

    assert replies == []


def test_messages_are_copied_on_their_way() -> None:
    grid = InProcessGrid(1, run_config={})
    message = grid.create_message(content_of("hello"), "query.offer", grid.get_node_ids()[0], "")

    arrived = over_the_wire(message)
    arrived.content.config_records["letter"]["kind"] = "changed"

    assert message.content.config_records["letter"]["kind"] == "hello"
