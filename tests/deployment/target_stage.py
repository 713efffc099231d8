"""One coordinator and one site, with what the three targets make of them."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from provisioning import done, found, member

from deploy.approved_code import approve_code
from deploy.code_bundle import CodeBundle

ROLES = ("coordinator", "site")
CHART = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes" / "chart"


@dataclass(frozen=True)
class Institutions:
    """A folder with the coordinator `liver`, the site `north`, and a folder for each target and role."""

    folder: Path

    def make(self, role: str, target: str, *more: object) -> Path:
        """Call the command of an operator; the folder it made."""
        output = self.folder / f"{role}-{target}-{len(list(self.folder.iterdir()))}"
        if role == "coordinator":
            said = (self.folder / "liver", "--address", "fl.example.org", "--state", self.folder / "state")
        else:
            said = (self.folder / "north", "--data", self.folder / "data")
        done("target", role, target, *said, "--output", output, *more)
        return output

    def compose(self, role: str, *more: object) -> dict[str, Any]:
        return yaml.safe_load((self.make(role, "compose", *more) / "compose.yaml").read_text())

    def units(self, role: str, *more: object) -> dict[str, str]:
        made = self.make(role, "systemd", *more)
        return {path.stem.removeprefix("lego-"): path.read_text() for path in made.glob("*.service")}

    def values(self, role: str, *more: object) -> dict[str, Any]:
        values = yaml.safe_load((self.make(role, "kubernetes", *more) / "values.yaml").read_text())
        if role == "site":
            values["data"]["claimName"] = "north-data"
        return values

    def manifests(self, role: str, *more: object) -> dict[str, dict[str, Any]]:
        """What Helm makes of the chart, by kind."""
        helm = pytest.importorskip(
            "helm_python", reason="helm-python-sdk (Helm's own engine) is not installed"
        )
        with helm.Chart.load(str(CHART)) as chart:
            rendered = chart.render(self.values(role, *more), name="lego", namespace="lego")
        parts = [one for text in rendered.values() for one in yaml.safe_load_all(text) if one]
        assert len({one["kind"] for one in parts}) == len(parts)
        return {one["kind"]: one for one in parts}


def institutions(folder: Path, *more: object) -> Institutions:
    found(folder / "liver", *more)
    site = member(folder / "liver", folder / "north", site="north")
    done("kit", folder / "liver", "north", "--output", folder / "kit", "--home", site)
    for name in ("ca.crt", "governance.json", "roster.json"):
        shutil.copy(folder / "kit" / name, site)
    approve_code(site, CodeBundle(b"stands for a bundle"), today=date(2026, 11, 24))
    (folder / "data").mkdir()
    return Institutions(folder)


def tool(name: str) -> str:
    """A program of the system, or of this Python's environment; the test is skipped where it is absent."""
    beside = Path(sys.executable).parent / name
    path = (
        str(beside) if beside.is_file() else shutil.which(name, path="/usr/sbin:/usr/bin:/bin:/usr/local/bin")
    )
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def accepted(*command: object) -> str:
    """Run a checker, which must find nothing to object to; what it says."""
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr
