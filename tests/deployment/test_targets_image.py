"""The image: pinned, without a line of this project's code, and nobody's root."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from target_stage import accepted, tool

from deploy.targets import OWN_IMAGE

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "deploy" / "image"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+) \\$", re.MULTILINE)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each with its arguments on one line."""
    joined = re.sub(r"\\\n\s*", " ", (IMAGE / "Dockerfile").read_text())
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def locked(name: str) -> dict[str, str]:
    return dict(NAMED.findall((IMAGE / name).read_text()))


@pytest.fixture(scope="module")
def everything() -> dict[str, str]:
    return locked("requirements.lock") | locked("torch-cuda.lock")


def test_hadolint_has_nothing_to_say() -> None:
    assert accepted(tool("hadolint"), IMAGE / "Dockerfile") == ""


def test_every_base_is_named_by_a_digest_that_the_builder_gives() -> None:
    bases = [words for name, words in instructions() if name == "FROM"]
    assert len(bases) == 2
    assert all(re.match(r"python:3\.11-slim-bookworm@\$\{PYTHON_DIGEST\}( AS \w+)?$", one) for one in bases)
    assert ("ARG", "PYTHON_DIGEST") in instructions()  # without a value: nobody builds from just any image


def test_nothing_of_this_project_is_copied() -> None:
    copied = [words for name, words in instructions() if name in ("COPY", "ADD")]
    assert copied == ["requirements.lock torch-cuda.lock ./", "--from=packages /opt/lego /opt/lego"]
    allowed = [line[1:] for line in (IMAGE / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    assert allowed == ["requirements.lock", "torch-cuda.lock"]
    assert (IMAGE / ".dockerignore").read_text().splitlines()[0] == "*"


def test_it_runs_as_nobody_in_particular() -> None:
    last = [words for name, words in instructions() if name == "USER"][-1]
    assert last == "10001:10001"


def test_its_last_stage_installs_nothing_and_tells_nobody_anything() -> None:
    at = max(index for index, (name, _) in enumerate(instructions()) if name == "FROM")
    last = " ".join(words for _, words in instructions()[at:])
    assert "pip install" not in last
    for name in (
        "TELEMETRY_ENABLED=0",
        "DISABLE_UPDATE_CHECK=1",
        "DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1",
    ):
        assert f"FLWR_{name}" in last


def test_every_package_has_hashes(everything: dict[str, str]) -> None:
    text = (IMAGE / "requirements.lock").read_text() + (IMAGE / "torch-cuda.lock").read_text()
    entries = re.split(r"\n(?=[a-z])", text.strip())
    assert len(entries) == len(everything) > 80
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", one) for one in entries)


def test_the_lock_and_the_constraints_name_the_same_versions(everything: dict[str, str]) -> None:
    lines = [
        line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    ]
    constrained = {canonicalize_name(name): version for name, _, version in lines if not name.startswith("#")}
    both = everything.keys() & constrained.keys()
    assert len(both) > 70
    assert {name: everything[name] for name in both} == {name: constrained[name] for name in both}
    torch = dict(words.split("=") for name, words in instructions() if name == "ARG" and "=" in words)
    assert torch["TORCH_VERSION"] == everything["torch"]


def test_the_lock_holds_all_that_the_project_asks_for(everything: dict[str, str]) -> None:
    extras = PROJECT["optional-dependencies"]
    asked = [
        Requirement(one) for one in (*PROJECT["dependencies"], *extras["federation"], *extras["privacy"])
    ]
    todo = [one for one in asked if one.name != PROJECT["name"]]
    seen: set[str] = set()
    while todo:
        one = todo.pop()
        name = canonicalize_name(one.name)
        extra = next(iter(one.extras), "")
        if f"{name}[{extra}]" in seen:
            continue
        seen.add(f"{name}[{extra}]")
        assert everything.get(name) is not None, f"{name} is not in the lock: make lock"
        assert one.specifier.contains(everything[name], prereleases=True), one
        if name == "torch":  # its CUDA packages have other names on other systems
            continue
        more = [Requirement(text) for text in requires(name) or []]
        todo += [child for child in more if child.marker is None or child.marker.evaluate({"extra": extra})]
    assert len(seen) > 70


def test_the_image_has_the_projects_version() -> None:
    assert f"lego-federation:{PROJECT['version']}" == OWN_IMAGE
