"""A site folder that is in order, and ways to put it out of order."""

import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import tomli_w

from deploy.preflight.checks import CHECKS
from deploy.preflight.examination import examine
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Wish
from lego_core.plan import RunPlan
from simulations.make_sites import make_sites

PLAN = """
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
smallest-count = 5

[participation]
wait-seconds = 0.1
round-seconds = 60

[simulation]
groups = [{ name = "north", modalities = ["clinical", "blood"] }]

[simulation.data]
kind = "synthetic"
patients = 100
outcome = { kind = "class" }
modalities = { clinical = { layout = "table", features = 3 }, blood = { layout = "table", features = 2 } }
"""
SECURE_SUM = {"privacy": {"kind": "secure-sum"}, "participation": {"smallest-group": 3, "round-seconds": 60}}


def changed(**tables: Any) -> RunPlan:
    """The tiny plan with some tables in place of its own."""
    return RunPlan.model_validate({**tomllib.loads(PLAN), **tables})


def site_folder(folder: Path, plan: RunPlan | None = None) -> Path:
    """One hospital in order; its plan lies beside it."""
    make_sites(plan or changed(), folder)
    site = folder / "site-0"
    edit(
        site / "site.toml",
        lambda plain: plain.update(rules={"privacy": ["no-privacy", "secure-sum", "patient-dp"]}),
    )
    return site


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a TOML file in place."""
    plain = tomllib.loads(path.read_text(encoding="utf-8"))
    change(plain)
    path.write_text(tomli_w.dumps(plain), encoding="utf-8")


def edit_table(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change a CSV file in place."""
    change(pd.read_csv(path)).to_csv(path, index=False)


def rewrite_plan(site: Path, **tables: Any) -> None:
    """Put some tables in place of the plan's own."""
    edit(site.parent / "plan.toml", lambda plain: plain.update(tables))


def look(site: Path, *names: str, **wishes: Any) -> dict[str, Finding]:
    """What some checks find, or all, by name."""
    checks = [one for one in CHECKS if not names or one.name in names]
    return by_name(examine(Wish(site / "site.toml", str(site.parent / "plan.toml"), **wishes), checks))


def found(site: Path, name: str, **wishes: Any) -> Finding:
    """What one check finds."""
    return look(site, name, **wishes)[name]


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {one.check: one for one in findings}
