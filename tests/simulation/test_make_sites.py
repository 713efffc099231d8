"""Site folders hold just what was dealt: what is written is what a site reads."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from flwr.app import Context, RecordDict
from pydantic import ValidationError

from client.identity import Identity
from client.site import read_site_file
from lego_core.datasets import ClassOutcome, Icu2012, LabelsOutcome, SurvivalOutcome, Synthetic
from lego_core.errors import DataError, PlanError, PrivacyError
from lego_core.partition import deal
from lego_core.plan import RunPlan
from lego_core.records import Cohort
from lego_core.signing import SigningKey
from lego_core.simulation import HospitalGroup, Simulation
from lego_core.tasks import Classification, MultiLabel, Survival
from server.setting import roster_of
from simulations import make_sites as module
from simulations.make_sites import load_dataset, make_sites, outcome_columns

PLAN = """
name = "small"
seed = 3
task = { kind = "survival" }
privacy = { kind = "no-privacy" }

[modalities.clinical.encoder]
kind = "tabular"

[modalities.laboratory.encoder]
kind = "time_series"

[modalities.scan.encoder]
kind = "image"

[simulation]
data = { kind = "synthetic", patients = 90 }

[[simulation.groups]]
name = "clinic"
modalities = ["clinical"]
hospitals = 2
complete-test = true

[[simulation.groups]]
name = "laboratory"
modalities = ["laboratory", "scan"]
"""


@pytest.fixture
def plan() -> RunPlan:
    return RunPlan.parse(PLAN, where="Plan 'small'")


def facts(cohort: Cohort) -> list[tuple[object, ...]]:
    return [(r.patient_id, r.outcome, r.hospital, r.part, sorted(r.modalities)) for r in cohort.records]


def test_a_site_folder_gives_back_the_patients_that_were_dealt(plan: RunPlan, tmp_path: Path) -> None:
    made = make_sites(plan, tmp_path)

    assert plan.simulation is not None
    whole = plan.simulation.data.load()
    dealt = deal(whole, plan.simulation, task=plan.task, split=plan.split, seed=plan.seed)
    for site in made:
        file = read_site_file(tmp_path / site.folder / "site.toml")
        read = file.data.load(tmp_path / site.folder)
        assert file.name == site.site
        assert facts(read) == facts(dealt[site.site])
        for name, schema in read.schemas.items():
            assert schema == dealt[site.site].schemas[name]
            written, expected = read.batch().inputs[name], dealt[site.site].batch().inputs[name]
            assert torch.equal(written.values, expected.values)
            assert torch.equal(written.times_days, expected.times_days)


def test_sites_and_their_patients_are_counted_in_a_summary(plan: RunPlan, tmp_path: Path) -> None:
    made = make_sites(plan, tmp_path)

    summary = json.loads((tmp_path / "hospitals.json").read_text())
    assert [site["site"] for site in summary] == ["clinic-1", "clinic-2", "laboratory"]
    assert [site["folder"] for site in summary] == ["site-0", "site-1", "site-2"]
    assert sum(sum(site.patients.values()) for site in made) == 90
    assert made[2].modalities.keys() == {"laboratory", "scan"}
    assert made[0].modalities["clinical"] == made[0].patients


def test_the_plan_beside_the_sites_is_the_plan_that_was_dealt(plan: RunPlan, tmp_path: Path) -> None:
    changed = plan.model_copy(update={"seed": 11})

    make_sites(changed, tmp_path)

    assert RunPlan.load(tmp_path / "plan.toml") == changed


def test_wide_tables_are_written_as_parquet(plan: RunPlan, tmp_path: Path) -> None:
    text = PLAN.replace(
        "patients = 90", 'patients = 90, modalities.clinical = { layout = "table", features = 101 }'
    )
    wide = RunPlan.parse(text[: text.index('[[simulation.groups]]\nname = "laboratory"')], where="it")

    make_sites(wide, tmp_path)

    assert (tmp_path / "site-0" / "clinical.parquet").is_file()


def test_what_is_being_done_is_said(plan: RunPlan, tmp_path: Path) -> None:
    said: list[str] = []

    make_sites(plan, tmp_path, say=said.append)

    assert said[0] == "Reading dataset 'synthetic'"
    assert said[-1] == "Writing hospital 'laboratory', 3 of 3"


def test_a_plan_without_hospitals_to_play_is_refused(plan: RunPlan, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"Plan 'small' has no \[simulation\]"):
        make_sites(plan.model_copy(update={"simulation": None}), tmp_path)


def test_data_that_do_not_come_along_need_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "USUAL_DATA", tmp_path / "nowhere")
    simulation = Simulation(data=Icu2012(), groups=(HospitalGroup(name="bedside", modalities=("vitals",)),))

    with pytest.raises(DataError, match="Name the folder with --data DIR"):
        load_dataset(simulation, data=None)


def test_made_up_patients_need_no_folder() -> None:
    simulation = Simulation(
        data=Synthetic(patients=20), groups=(HospitalGroup(name="clinic", modalities=("clinical",)),)
    )

    assert len(load_dataset(simulation, data=None)) == 20


def test_outcomes_are_written_in_the_form_of_the_task() -> None:
    assert outcome_columns(Survival()) == SurvivalOutcome()
    assert outcome_columns(Classification(classes=("a", "b"))) == ClassOutcome(classes=("a", "b"))
    assert outcome_columns(MultiLabel(labels=("x", "y"))) == LabelsOutcome(columns=("x", "y"))


def test_every_site_has_a_key_of_its_own_and_a_roster_that_names_it(plan: RunPlan, tmp_path: Path) -> None:
    today = datetime.now(UTC).date()

    made = make_sites(plan, tmp_path)

    for site in made:
        folder = tmp_path / site.folder
        identity = read_site_file(folder / "site.toml").identity
        assert identity is not None
        own = identity.signing_key(folder).public
        identity.read_roster(folder, today=today).check_member(site.site, public_key=own, today=today)
    named = {entry.public_key for entry in identity.read_roster(folder, today=today).entries}
    assert len(named) == 3
    assert identity.governance_needed == 2


def test_the_server_reads_the_roster_that_lies_beside_the_sites(plan: RunPlan, tmp_path: Path) -> None:
    def context(sites_dir: str) -> Context:
        return Context(1, 1, {}, RecordDict(), {"sites-dir": sites_dir, "plan": "small"})

    assert roster_of(context("")) is None
    assert roster_of(context(str(tmp_path))) is None
    make_sites(plan, tmp_path)
    roster = roster_of(context(str(tmp_path)))
    assert roster is not None
    assert [entry.site for entry in roster.entries] == ["clinic-1", "clinic-2", "laboratory"]
    (tmp_path / "governance.json").write_text("{")
    with pytest.raises(PrivacyError, match=r"'governance\.json': Invalid JSON"):
        roster_of(context(str(tmp_path)))


@pytest.mark.parametrize(
    ("keys", "said"),
    [(1, "governance-needed is 2 and governance-keys names 1"), (0, "governance-keys")],
)
def test_a_site_asks_for_no_more_signatures_than_it_knows_keys(tmp_path: Path, keys: int, said: str) -> None:
    names = [SigningKey.make().public for _ in range(keys)]
    identity = {"key": "identity.key", "roster": "roster.json", "governance-keys": names}

    with pytest.raises(ValidationError, match=said):
        Identity.model_validate(identity)
    if names:
        with pytest.raises(ValidationError, match="names a key twice"):
            Identity.model_validate({**identity, "governance-keys": [*names, *names]})
