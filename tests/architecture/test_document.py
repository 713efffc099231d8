"""Is ARCHITECTURE.md still true?"""

import importlib
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest

import lego_core
from lego_core import aggregation, datasets, encoders, merging, privacy, protocol, tasks

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "ARCHITECTURE.md").read_text()
TREE = DOCUMENT.split("## 2. The tree")[1].split("```")[1]
UNIONS = [
    aggregation.Aggregation,
    datasets.Dataset,
    encoders.Encoder,
    merging.LatentMerge,
    merging.WeightMerge,
    privacy.Privacy,
    tasks.Task,
]


def members(union: object) -> tuple[type, ...]:
    """The classes of a discriminated union; a union of one is the class itself."""
    inside = get_args(union)
    return get_args(inside[0]) if inside else (union,)  # type: ignore[return-value]


def modules() -> list[str]:
    packages = [lego_core, *(importlib.import_module(name) for name in ("client", "server", "deploy"))]
    return sorted(
        module.name
        for package in packages
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    )


@pytest.mark.parametrize("member", [one for union in UNIONS for one in members(union)])
def test_every_member_of_a_union_names_its_source(member: type) -> None:
    assert "Source:" in (member.__doc__ or "")


def test_every_path_in_the_tables_exists() -> None:
    table = DOCUMENT.split("## 5.")[1].split("## 6.")[0]
    paths = set(re.findall(r"`((?:lego_core|tests|simulations)/[\w/]+\.\w+)`", table))

    assert len(paths) > 10
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("folder", ["lego_core", "client", "server", "deploy"])
def test_the_tree_names_every_file_of_the_folder(folder: str) -> None:
    block = TREE.split(f"├── {folder}/")[1].split("\n│\n")[0]
    drawn = set(re.findall(r"│   [├└]── (\w+\.py)", block))
    there = {path.name for path in (ROOT / folder).glob("*.py") if not path.name.startswith("_")}

    assert drawn == there


def test_all_public_names_are_sorted() -> None:
    for name in modules():
        exported = getattr(importlib.import_module(name), "__all__", [])
        assert exported == sorted(exported, key=lambda one: (not one.isupper(), one)), name


def test_the_list_of_letters_is_closed() -> None:
    questions = {kind.kind for kind in protocol.QUESTIONS}
    answers = {kind.kind for kind in protocol.ANSWERS}

    assert questions == {
        "query.offer", "query.statistics", "query.outcomes", "train.block", "train.fuse", "query.grams",
        "evaluate.model", "query.sum_keys", "query.sum_shares", "query.sum_confirm", "query.sum_open",
        "query.held", "query.take_piece", "query.piece", "query.drop_parcels",
    }  # fmt: skip
    assert answers == {
        "offer", "statistics", "outcomes", "progress", "update", "grams", "site-report", "refusal",
        "sum-keys", "sum-shares", "masked-vectors", "sum-confirmations", "sum-opening",
        "held", "piece-taken", "piece", "parcels-dropped",
    }  # fmt: skip


def test_every_answer_says_what_it_reveals() -> None:
    assert [kind.__name__ for kind in protocol.ANSWERS if "Reveals" not in (kind.__doc__ or "")] == []


def test_the_science_imports_where_flower_is_not_installed() -> None:
    blocked = "import sys; sys.modules.update({n: None for n in ('flwr', 'grpc', 'ray', 'cryptography')});"
    script = f"{blocked} from lego_core import LegoBlock, LegoMerge, LegoFuse; print('here')"

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == "here", done.stderr


def test_a_site_imports_only_what_every_question_needs() -> None:
    """Flower starts a site's program anew for every message."""
    slow = ("sksurv", "sklearn", "torchmetrics", "matplotlib", "opacus", "scipy.stats", "scipy.optimize")
    script = f"import sys, client.app; print([name for name in {slow} if name in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == "[]", done.stderr


def test_the_import_contracts_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")

    done = subprocess.run([str(linter)], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_flowers_bundle_holds_code_and_plans_only() -> None:
    app = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]

    assert set(app["fab-include"]) == {
        "server/**/*.py",
        "client/**/*.py",
        "lego_core/**/*.py",
        "simulations/plans/*.toml",
        "LICENSE",
    }


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    wanted = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    names = {re.split(r"[\[<>=!~ ]", one)[0].lower() for one in wanted} - {project["name"]}

    assert sorted(names - pinned) == []


def test_importing_a_module_changes_nothing_that_others_share() -> None:
    script = (
        "import torch, importlib; torch.manual_seed(1); state = torch.get_rng_state();"
        "threads = torch.get_num_threads();"
        f"[importlib.import_module(name) for name in {modules()!r}];"
        "assert torch.equal(state, torch.get_rng_state()); assert threads == torch.get_num_threads();"
        "print('quiet')"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.stdout.strip().endswith("quiet"), done.stderr
