"""Does README say what is true?"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_ten_lines_for_researchers_run_as_printed() -> None:
    lines = README.split("## Ten lines for researchers")[1].split("```python")[1].split("```")[0]

    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    scores = dict(re.findall(r"(\w+)  C-index (0\.\d{3})", done.stdout))
    assert scores.keys() == {"clinical", "laboratory", "merge", "fuse"}
    assert all(float(value) > 0.6 for value in scores.values())


@pytest.mark.parametrize("target", re.findall(r"\]\(((?!http)[^)#]+)\)", README))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("folder", ["lego_core", "client", "server", "simulations", "deploy", "tests"])
def test_the_tree_names_every_folder(folder: str) -> None:
    assert re.search(rf"^{folder}/ ", README, flags=re.MULTILINE)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_two_commands_are_in_the_makefile(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
