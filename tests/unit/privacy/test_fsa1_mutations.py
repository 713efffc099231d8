"""Every check that protects a site, taken away one at a time: some test must fail for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import checks, without

ROOT = Path(__file__).parents[3]
FSA1 = Path("lego_core/privacy/fsa1")
GUARDED = (
    "site.py",
    "descriptor.py",
    "limits.py",
    "memory.py",
    "keys.py",
    "sharing.py",
    "wire.py",
    "vectors.py",
    "fixed_point.py",
    "neighbours.py",
    "server.py",
)
CHECKS = [
    (file, line) for file in GUARDED for line in checks((ROOT / FSA1 / file).read_text(encoding="utf-8"))
]


def passes(folder):
    """Whether the tests of the secure sum pass with the package in this folder."""
    here = ROOT / "tests" / "unit" / "privacy"
    tests = [str(here / f"test_fsa1_{name}.py") for name in ("refusals", "session", "known_answers")]
    # -P and a path of its own: the copy is to be imported, not the package of this checkout
    told = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider",
         "-o", f"pythonpath={folder} {here}", *tests],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode in {0, 1}, told.stdout + told.stderr
    return told.returncode == 0


@pytest.fixture
def copy(tmp_path):
    """A copy of the package, to take checks away from."""
    shutil.copytree(ROOT / "lego_core", tmp_path / "lego_core", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.slow
def test_with_all_checks_the_tests_pass(copy):
    assert passes(copy)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line"), CHECKS)
def test_a_check_taken_away_is_missed(file, line, copy):
    target = copy / FSA1 / file
    source = target.read_text(encoding="utf-8")

    target.write_text(without(source, line), encoding="utf-8")

    assert not passes(copy), f"Nobody misses {file}:{line}: {source.splitlines()[line - 1].strip()}"
