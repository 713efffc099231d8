"""The whole federation on one machine, in real processes; and the same weights on every engine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from provisioning import refused
from stage import processes_of

from deploy.code_bundle import ROOT
from deploy.federation import read_federation
from deploy.run import weights_hash
from lego_core.bundle import ModelBundle

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") is None,
    reason="nginx is not installed here: apt-get install nginx-light",
)
PLAN = "five-hospitals"
ENDS_WITHIN_SECONDS = 1500.0  # seen: under 300 on two idle cores
STARTS_WITHIN_SECONDS = 300.0


@contextmanager
def demonstration(output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m deploy demo`, in a process of its own; what it says goes to a file."""
    command = [sys.executable, "-m", "deploy", "demo", PLAN, "--output", str(output)]
    with output.with_suffix(".log").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "COLUMNS": "200"}, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)


def said_by(output: Path) -> str:
    return output.with_suffix(".log").read_text(encoding="utf-8")


@pytest.mark.slow
@needs_nginx
def test_five_sites_come_to_a_signed_bundle_with_the_weights_of_the_other_engines(tmp_path: Path) -> None:
    output = tmp_path / "demo"
    with demonstration(output) as process:
        code = process.wait(timeout=ENDS_WITHIN_SECONDS)
    said = said_by(output)
    assert code == 0, said

    trusted = read_federation(output / "coordinator" / "federation.toml").bundle_key
    bundle = ModelBundle.load(output / "result" / "bundle", trusted_keys=[trusted])
    assert set(bundle.models.merged.blocks) == {"clinical", "laboratory"}
    assert "Complete: 5 sites" in said
    digest = weights_hash(output / "result")
    assert f"The same weights, bit for bit, here and in one process: {digest}" in said
    assert processes_of(output) == []

    ray = [sys.executable, "-m", "simulations", "run", PLAN, "--output", str(tmp_path / "ray")]
    subprocess.run(ray, cwd=ROOT, check=True, capture_output=True, timeout=ENDS_WITHIN_SECONDS)
    assert weights_hash(tmp_path / "ray") == digest


@pytest.mark.slow
@needs_nginx
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_stops_it_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    output = tmp_path / "demo"
    with demonstration(output) as process:
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while "5 SuperNodes" not in said_by(output):
            assert process.poll() is None, said_by(output)
            assert time.monotonic() < deadline, said_by(output)
            time.sleep(0.5)
        assert len(processes_of(output)) >= 8  # SuperLink, SuperExec, nginx, five SuperNodes
        process.send_signal(number)
        code = process.wait(timeout=120)

    assert code == 1
    assert "Stopped, with all that was started." in said_by(output)
    assert processes_of(output) == []


def test_without_nginx_it_says_so_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.service.shutil.which", lambda *_, **__: None)

    said = refused("demo", "--output", tmp_path / "demo")

    assert "The program 'nginx' is not installed here" in said
    assert "apt-get install nginx-light" in said
    assert list((tmp_path / "demo").iterdir()) == []


def test_nothing_is_written_over_but_an_earlier_demonstration(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()

    assert "There is something in 'letters'" in refused("demo", "--output", tmp_path / "letters")
    assert "There is something in 'letters'" in refused(
        "demo", "--output", tmp_path / "letters", "--overwrite"
    )
    assert (tmp_path / "letters" / "dear.txt").exists()
