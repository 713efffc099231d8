"""Every plan that comes along can be rehearsed."""

import re
from pathlib import Path

import pytest

from lego_core.datasets import Breast, Pbc, Synthetic
from lego_core.plan import RunPlan, shipped_plans
from simulations.make_sites import load_dataset, make_sites
from simulations.run import ROOT

REHEARSALS = {name: path for name, path in shipped_plans().items() if "simulations" in path.parts}
EMBEDDED = {
    name
    for name in REHEARSALS
    if isinstance(getattr(RunPlan.shipped(name).simulation, "data", None), Breast | Pbc | Synthetic)
}

every_rehearsal = pytest.mark.parametrize("name", REHEARSALS)


@every_rehearsal
def test_a_plan_is_called_like_its_file_and_plays_hospitals(name: str) -> None:
    plan = RunPlan.shipped(name)

    assert plan.name == name
    assert plan.description
    assert plan.simulation is not None


@every_rehearsal
def test_a_plan_begins_with_its_command(name: str) -> None:
    first = REHEARSALS[name].read_text(encoding="utf-8").splitlines()[0]

    assert re.match(rf"# Command: (python -m simulations run {name}|flwr run \.)", first)


@every_rehearsal
def test_every_modality_of_the_plan_is_held_by_a_hospital(name: str) -> None:
    plan = RunPlan.shipped(name)

    assert plan.simulation is not None
    held = {modality for group in plan.simulation.groups for modality in group.modalities}
    assert held == set(plan.modalities)


@every_rehearsal
def test_hospitals_get_patients_and_every_encoder_can_read_them(
    name: str, request: pytest.FixtureRequest
) -> None:
    plan = RunPlan.shipped(name)
    assert plan.simulation is not None
    data = None if name in EMBEDDED else request.getfixturevalue("data_dir")

    cohort = load_dataset(plan.simulation, data=data)

    for modality, settings in plan.modalities.items():
        settings.encoder.build(cohort.schemas[modality])


@pytest.mark.parametrize("name", ["two-hospitals", "icu2012", "tcga-ucec"])
def test_site_folders_are_made_of_a_plan(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    plan = RunPlan.shipped(name)
    assert plan.simulation is not None
    data = None if name in EMBEDDED else request.getfixturevalue("data_dir")

    made = make_sites(plan, tmp_path, data=data)

    assert len(made) == plan.simulation.num_hospitals
    wanted = set(plan.modalities)
    assert {modality for site in made for modality in site.modalities} == wanted
    assert any(site.modalities.keys() == wanted and site.patients["test"] >= 20 for site in made)


def test_the_readme_lists_every_plan() -> None:
    listed = re.findall(r"^\| `([a-z0-9-]+)`", (ROOT / "simulations" / "README.md").read_text(), re.MULTILINE)

    assert sorted(listed) == sorted(REHEARSALS)
