"""Each check of what a site takes part in and sends, taken away one at a time: some test must fail for it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from mutants import checks, without

ROOT = Path(__file__).parents[2]
SUMS = (
    "secure_sum_lies",
    "secure_sum_replays",
    "secure_sum_bystanders",
    "ledger",
    "site_rules",
    "noised_runs",
    "secure_sum",
)
GUARDED = {  # and the tests that are to miss a check of it, the likeliest first
    "client/agreed_form.py": ("secure_sum_bystanders", "bad_sites"),
    "client/answers.py": (*SUMS, "gate", "bad_sites"),
    "client/gate.py": ("gate", "egress"),
    "client/rules.py": ("site_rules", "gate"),
    "client/enough.py": ("site_rules",),
    "client/local_training.py": (
        "site_rules",
        "egress",
        "gate",
        "secure_sum_lies",
        "secure_sum_few",
        "secure_sum_bad_sites",
        "noised_runs",
    ),
    "client/sums.py": SUMS,
    "client/way.py": SUMS,
    "client/ledger.py": ("ledger", "noised_runs"),
    "lego_core/egress.py": ("egress", "gate"),
}
CHECKS = [(file, line) for file in GUARDED for line in checks((ROOT / file).read_text(encoding="utf-8"))]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project, to take checks away from."""
    passed_over = shutil.ignore_patterns("__pycache__", "*.svg", "RESULTS.md")
    for name in ("lego_core", "client", "server", "simulations", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=passed_over)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def passes(folder: Path, tests: Iterable[str]) -> bool:
    """Whether some tests of sites pass on a copy of the project."""
    told = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow",
         *(f"tests/federation/test_{name}.py" for name in tests)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert told.returncode in {0, 1}, told.stdout + told.stderr
    return told.returncode == 0


def test_every_file_has_checks() -> None:
    assert {file for file, _ in CHECKS} == set(GUARDED)


@pytest.mark.slow
def test_with_all_checks_the_tests_pass(copy: Path) -> None:
    assert passes(copy, {name for tests in GUARDED.values() for name in tests})


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line"), CHECKS)
def test_a_check_of_the_site_taken_away_is_missed(file: str, line: int, copy: Path) -> None:
    target = copy / file
    source = target.read_text(encoding="utf-8")

    target.write_text(without(source, line), encoding="utf-8")

    missed = not passes(copy, GUARDED[file])
    assert missed, f"Nobody misses {file}:{line}: {source.splitlines()[line - 1].strip()}"
