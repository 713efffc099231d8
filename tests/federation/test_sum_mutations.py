"""Each check of a site around the secure sum, taken away one at a time: some test must fail for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import checks, without

ROOT = Path(__file__).parents[2]
GUARDED = ("client/sums.py", "client/way.py", "client/ledger.py")
TESTS = ("secure_sum_lies", "secure_sum_replays", "secure_sum", "ledger", "noised_runs", "site_rules")
CHECKS = [(file, line) for file in GUARDED for line in checks((ROOT / file).read_text(encoding="utf-8"))]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the project, to take checks away from."""
    passed_over = shutil.ignore_patterns("__pycache__", "*.svg", "RESULTS.md")
    for name in ("lego_core", "client", "server", "simulations", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=passed_over)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def passes(folder: Path) -> bool:
    """Whether the tests of the secure sum pass on a copy of the project."""
    told = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow",
         *(f"tests/federation/test_{name}.py" for name in TESTS)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert told.returncode in {0, 1}, told.stdout + told.stderr
    return told.returncode == 0


@pytest.mark.slow
def test_with_all_checks_the_tests_pass(copy: Path) -> None:
    assert passes(copy)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line"), CHECKS)
def test_a_check_of_the_site_taken_away_is_missed(file: str, line: int, copy: Path) -> None:
    target = copy / file
    source = target.read_text(encoding="utf-8")

    target.write_text(without(source, line), encoding="utf-8")

    assert not passes(copy), f"Nobody misses {file}:{line}: {source.splitlines()[line - 1].strip()}"
