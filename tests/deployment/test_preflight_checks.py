"""Does every check find what it is for, keep to itself what must stay, and let the others go on?"""

import errno
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from preflighted import (
    SECURE_SUM,
    by_name,
    changed,
    edit,
    edit_table,
    found,
    look,
    rewrite_plan,
    site_folder,
)
from typer.testing import CliRunner

from client.ledger import SiteLedger
from deploy.preflight.checks import CHECKS, AbstractCheck, clock
from deploy.preflight.cli import app
from deploy.preflight.examination import examine
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises, Wish
from lego_core.accounting import NoisySteps
from lego_core.roster import read_signed_roster
from lego_core.signing import SigningKey

NOISE = {"kind": "patient-dp", "epsilon": 3.0, "noise-multiplier": 2.0, "batch-size": 20, "steps": 5}


@pytest.fixture(scope="module")
def in_order(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site_folder(tmp_path_factory.mktemp("sites") / "all")


@pytest.fixture
def site(in_order: Path, tmp_path: Path) -> Path:
    """A copy to put out of order."""
    shutil.copytree(in_order.parent, tmp_path / "all")
    return tmp_path / "all" / in_order.name


# ---- the contract of all checks ---------------------------------------------------------------------------


def test_every_check_has_a_name_of_its_own_and_a_question() -> None:
    names = [one.name for one in CHECKS]

    assert len(set(names)) == len(names) >= 20
    assert all(one.asks.endswith("?") for one in CHECKS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.name)
def test_a_site_in_order_has_nothing_to_fix(check: AbstractCheck, in_order: Path) -> None:
    finding = found(in_order, check.name, runtime_port=_free_port())

    assert finding.status in ("PASS", "LOOK", "SKIPPED")
    assert (finding.status == "SKIPPED") == (check.name in {"link", "certificate", "clock"})
    assert finding.said.endswith(".")


@pytest.mark.parametrize("check", CHECKS, ids=lambda one: one.name)
def test_no_check_stops_the_others_whatever_is_missing(check: AbstractCheck, tmp_path: Path) -> None:
    finding = found(tmp_path, check.name)

    assert finding.status in ("FIX", "SKIPPED", "PASS")
    assert finding.status != "FIX" or finding.todo


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"name = ", b"name = 1", b"[" * 5000])
def test_damaged_files_are_findings(site: Path, content: bytes) -> None:
    for name in ("site.toml", "clinical.csv", "../roster.json", "../plan.toml"):
        (site / name).write_bytes(content)
        assert len(look(site)) == len(CHECKS), name


def test_patients_are_named_only_on_request(site: Path) -> None:
    edit_table(site / "clinical.csv", _with_value(900.0))
    edit_table(site / "blood.csv", lambda table: pd.concat([table, table.head(1)]))  # a patient twice
    options = [str(site), "--plan", str(site.parent / "plan.toml")]
    patients = {str(one) for one in pd.read_csv(site / "patients.csv")["patient_id"]}

    public = CliRunner().invoke(app, ["preflight", *options]).output
    plain = CliRunner().invoke(app, ["preflight", *options, "--json"]).output
    local = CliRunner().invoke(app, ["preflight", *options, "--details"]).output

    assert not any(one in text for one in patients for text in (public, plain))
    assert any(one in local for one in patients)


def test_exit_code_and_json_say_the_same(site: Path) -> None:
    options = ["preflight", str(site), "--plan", str(site.parent / "plan.toml"), "--json"]

    well = CliRunner().invoke(app, options)
    (site / "clinical.csv").unlink()
    ill = CliRunner().invoke(app, options)

    assert (well.exit_code, json.loads(well.output)["passed"]) == (0, True)
    assert (ill.exit_code, json.loads(ill.output)["passed"]) == (1, False)
    data = by_name(Finding.model_validate(one) for one in json.loads(ill.output)["findings"])["data"]
    assert data.status == "FIX"
    assert "is not there" in data.said


def test_a_check_that_fails_is_a_finding(site: Path) -> None:
    class Broken(AbstractCheck):
        name, asks = "broken", "Does it fail?"

        def look(self, premises: Premises) -> Finding:
            raise KeyError(premises.wish.plan)

    broken, plan = examine(Wish(site / "site.toml", "tiny"), [Broken(), CHECKS[1]])

    assert (broken.status, broken.said) == ("FIX", "The check failed (KeyError).")
    assert "There is no shipped plan 'tiny'" in plan.said


# ---- configuration, policy, keys --------------------------------------------------------------------------


def test_rules_that_refuse_the_plan_are_named_with_both_values(site: Path) -> None:
    edit(
        site / "site.toml", lambda plain: plain["rules"].update({"privacy": ["secure-sum"], "most-rounds": 1})
    )

    finding = found(site, "policy")

    assert finding.status == "FIX"
    assert "the run has privacy 'no-privacy' and this site accepts ['secure-sum']" in finding.said
    assert "the run has 2 rounds of training and this site takes part in 1" in finding.said


def test_privacy_that_is_not_named_is_found(site: Path) -> None:
    edit(site / "site.toml", lambda plain: plain.pop("rules"))

    assert "does not say which kinds of privacy plans it accepts" in found(site, "configuration").said


def test_a_site_with_another_key_than_the_rosters_is_found(site: Path) -> None:
    (site / "identity.key").unlink()
    SigningKey.make().save(site / "identity.key")

    finding = found(site, "identity")

    assert finding.status == "FIX"
    assert "holds the key" in finding.said
    assert "and the roster of 'tiny' names" in finding.said


def test_two_sites_with_one_key_are_found(site: Path) -> None:
    path = site.parent / "roster.json"
    plain = json.loads(path.read_text())
    twin = {**plain["roster"]["entries"][0], "site": "south"}
    plain["roster"]["entries"].append(twin)
    path.write_text(json.dumps(plain))

    finding = found(site, "identity")

    assert finding.status == "FIX"
    assert f"key '{twin['public-key']}' is there twice" in finding.said + finding.todo


def test_a_key_that_others_may_read_is_found(site: Path) -> None:
    (site / "identity.key").chmod(0o644)

    assert found(site, "identity").status == "FIX"


def test_a_plan_that_sums_securely_needs_an_identity(site: Path) -> None:
    edit(site / "site.toml", lambda plain: plain.pop("identity"))
    without = found(site, "identity")
    rewrite_plan(site, **SECURE_SUM)

    assert without.status == "SKIPPED"
    assert "has no [identity], and plan 'tiny' sums securely" in found(site, "identity").said


def test_a_roster_that_is_not_signed_is_found(site: Path) -> None:
    signed = read_signed_roster(site.parent / "roster.json")
    signed.model_copy(update={"signatures": {}}).save(site.parent / "roster.json")

    assert "bears 0 signatures" in found(site, "identity").said


# ---- data -------------------------------------------------------------------------------------------------


def _with_value(value: float, *, column: str = "feature-0") -> Any:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        name = column if column in table else next(one for one in table if one != "patient_id")
        table.loc[3, name] = value
        return table

    return change


def test_ages_of_900_are_found_without_a_range(site: Path) -> None:
    edit_table(site / "clinical.csv", _with_value(900.0))

    finding = found(site, "values")

    assert finding.status == "LOOK"
    assert finding.measured["far_off"] == 1
    assert ": 900 (" in finding.details[0]


def test_values_outside_the_plans_ranges_are_to_be_fixed(site: Path) -> None:
    plan = changed()
    feature = pd.read_csv(site / "clinical.csv").columns[1]
    clinical = {**plan.modalities["clinical"].to_plain(), "ranges": {feature: [-0.1, 0.1]}}
    rewrite_plan(site, modalities={**plan.to_plain()["modalities"], "clinical": clinical})
    values = pd.read_csv(site / "clinical.csv")[feature]

    finding = found(site, "values")

    assert finding.status == "FIX"
    assert finding.measured["outside_ranges"] == int((values.abs() > 0.1).sum())


def test_a_range_the_wrong_way_round_is_no_plan(site: Path) -> None:
    plain = changed().to_plain()["modalities"]
    plain["clinical"]["ranges"] = {"age": [120.0, 0.0]}
    rewrite_plan(site, modalities=plain)

    assert "the range of 'age' goes from 120 to 0" in found(site, "plan").said


@pytest.mark.parametrize(
    ("share", "status"), [(0.2, "PASS"), (0.7, "LOOK"), (1.0, "FIX")], ids=["some", "most", "all"]
)
def test_missing_values_are_counted(site: Path, share: float, status: str) -> None:
    def blank(table: pd.DataFrame) -> pd.DataFrame:
        table.iloc[: round(share * len(table)), 1] = np.nan
        return table

    edit_table(site / "clinical.csv", blank)

    assert found(site, "missing").status == status


def test_patients_twice_are_found(site: Path) -> None:
    edit_table(site / "patients.csv", lambda table: pd.concat([table, table.head(2)]))

    assert found(site, "data").status == "FIX"
    assert found(site, "values").status == "SKIPPED"


def test_identifiers_that_differ_in_their_writing_are_found(site: Path) -> None:
    def rename(table: pd.DataFrame) -> pd.DataFrame:
        table["patient_id"] = [
            f"P-{number // 2:03d}" if number % 2 else f"p{number // 2}" for number in range(len(table))
        ]
        return table

    names = pd.read_csv(site / "patients.csv")["patient_id"]
    edit_table(site / "patients.csv", rename)
    new = dict(zip(names, pd.read_csv(site / "patients.csv")["patient_id"], strict=True))
    for file in ("clinical.csv", "blood.csv"):
        edit_table(site / file, lambda table: table.assign(patient_id=table["patient_id"].map(new)))

    finding = found(site, "identifiers")

    assert finding.status == "LOOK"
    assert finding.measured["doubtful_identifiers"] == len(names) // 2
    assert "'p1' / 'P-001'" in finding.details


def test_modalities_without_a_patient_in_common_are_found(site: Path) -> None:
    half = len(pd.read_csv(site / "patients.csv")) // 2
    some = set(pd.read_csv(site / "patients.csv")["patient_id"][:half])
    edit_table(site / "clinical.csv", lambda table: table[table["patient_id"].isin(some)])
    edit_table(site / "blood.csv", lambda table: table[~table["patient_id"].isin(some)])

    finding = found(site, "identifiers")

    assert finding.status == "LOOK"
    assert "clinical and blood have no patient in common" in finding.said


def test_classes_that_nobody_has_are_found(site: Path) -> None:
    edit_table(site / "patients.csv", lambda table: table.assign(**{"class": "0"}))

    finding = found(site, "outcomes")

    assert finding.status == "LOOK"
    assert "1 of 2 classes have no training patient here: 1" in finding.said


def test_classes_in_another_order_than_the_plans_are_found(site: Path) -> None:
    edit(site / "site.toml", lambda plain: plain["data"]["outcome"].update(classes=["1", "0"]))

    assert "site.toml lists the classes ['1', '0'] and the plan ['0', '1']" in found(site, "data").said


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda t: t.assign(event=0), "LOOK", "None of"),
        (lambda t: t.assign(event=1), "LOOK", "All of"),
        (lambda t: t.assign(time_days=t["time_days"] + 60_000), "FIX", "more than 150 years"),
        (lambda t: t, "PASS", "have the event"),
    ],
    ids=["no-event", "all-events", "dates-for-days", "in-order"],
)
def test_survival_that_cannot_be_is_found(tmp_path: Path, change: Any, status: str, words: str) -> None:
    plain = changed().to_plain()
    plain["task"] = {"kind": "survival", "num-bins": 2}
    plain["simulation"]["data"]["outcome"] = {"kind": "survival"}
    site = site_folder(tmp_path / "all", changed().model_validate(plain))
    edit_table(site / "patients.csv", change)

    finding = found(site, "outcomes")

    assert (finding.status, words in finding.said) == (status, True)


def test_a_negative_time_is_found(tmp_path: Path) -> None:
    plain = changed().to_plain()
    plain["task"] = {"kind": "survival", "num-bins": 2}
    plain["simulation"]["data"]["outcome"] = {"kind": "survival"}
    site = site_folder(tmp_path / "all", changed().model_validate(plain))
    edit_table(site / "patients.csv", lambda table: table.assign(time_days=-1.0))

    assert "holds a negative time for 100 of 100 patients" in found(site, "data").said


def test_too_few_patients_are_found(site: Path) -> None:
    edit(site / "site.toml", lambda plain: plain["rules"].update({"smallest-count": 1000}))

    finding = found(site, "patients")

    assert finding.status == "FIX"
    assert "and 1000 are needed (key rules.smallest-count of site.toml)" in finding.said


def test_more_patients_than_may_count_are_found(site: Path) -> None:
    rewrite_plan(
        site, privacy={"kind": "secure-sum", "weight-cap": 5}, participation=SECURE_SUM["participation"]
    )

    assert "training patients are more than the 5 that the plan lets count" in found(site, "patients").said


def test_modalities_of_other_names_are_found(site: Path) -> None:
    def rename(plain: dict[str, Any]) -> None:
        modalities = plain["data"]["modalities"]
        plain["data"]["modalities"] = {"Clinical": modalities["clinical"], "Blood": modalities["blood"]}

    edit(site / "site.toml", rename)

    assert found(site, "data").status == "FIX"


def test_an_encoder_that_cannot_read_the_data_is_found(site: Path) -> None:
    plain = changed().to_plain()["modalities"]
    plain["clinical"]["encoder"] = {"kind": "image"}
    rewrite_plan(site, modalities=plain)

    assert found(site, "modalities").status == "FIX"


# ---- privacy budget ---------------------------------------------------------------------------------------


def test_the_budget_is_that_of_the_ledger_and_nothing_is_charged(site: Path) -> None:
    rewrite_plan(site, privacy=NOISE, training={"keep": "last"})
    fresh = found(site, "privacy-budget")
    assert not (site / "ledger.jsonl").exists()

    SiteLedger(site / "ledger.jsonl").charge(
        NoisySteps(2.0, 0.3, 200), purpose="earlier", patients=["a"], budget=100.0, delta=1e-5
    )
    before = (site / "ledger.jsonl").read_bytes()
    later = found(site, "privacy-budget")

    assert fresh.measured["epsilon_spent"] == 0 < fresh.measured["epsilon_after"]
    assert later.status == "FIX"
    assert later.measured["epsilon_spent"] > 3.0
    assert (site / "ledger.jsonl").read_bytes() == before


def test_a_budget_that_ends_within_the_run_is_told(site: Path) -> None:
    rewrite_plan(site, privacy={**NOISE, "epsilon": 0.5}, training={"keep": "last"})

    finding = found(site, "privacy-budget")

    assert finding.status == "LOOK"
    assert "stops training before the run ends" in finding.said


def test_more_patients_in_a_step_than_there_are_are_found(site: Path) -> None:
    rewrite_plan(site, privacy={**NOISE, "batch-size": 5000}, training={"keep": "last"})

    assert "5000 are needed (key batch-size of the plan's privacy)" in found(site, "patients").said


# ---- the machine ------------------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_port_in_use_is_found(in_order: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        taken = found(in_order, "runtime-port", runtime_port=port)
    free = found(in_order, "runtime-port", runtime_port=port)

    assert (taken.status, free.status) == ("FIX", "PASS")
    assert f"Port {port} of the loopback is in use" in taken.said


def test_a_full_disk_is_found(in_order: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("deploy.preflight.checks.disk.os.fsync", full)

    finding = found(in_order, "disk")

    assert finding.status == "FIX"
    assert "(No space left on device)" in finding.said


def test_a_disk_with_little_room_is_found(in_order: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(in_order)._replace(free=10**6)
    monkeypatch.setattr("deploy.preflight.checks.disk.shutil.disk_usage", lambda _: usage)

    finding = found(in_order, "disk")

    assert finding.status == "FIX"
    assert finding.measured["free_gigabytes"] < finding.limits["free_gigabytes"]


@pytest.mark.parametrize(
    ("line", "status"), [("flwr==1.20.0", "FIX"), ("torch==1.0.0", "LOOK"), ("six==1", "PASS")]
)
def test_other_versions_are_found(in_order: Path, tmp_path: Path, line: str, status: str) -> None:
    (tmp_path / "constraints.txt").write_text(f"# pins\n{line}\n")

    assert found(in_order, "versions", constraints=tmp_path / "constraints.txt").status == status


def test_training_is_measured_and_nothing_is_left_behind(site: Path) -> None:
    before = {one: one.read_bytes() for one in site.rglob("*") if one.is_file()}

    findings = look(site, mbit=10.0)

    assert findings["training"].measured["seconds_per_step, block 'clinical'"] > 0
    assert findings["training"].measured["steps, block 'clinical'"] == 3  # 70 of 100 patients, 32 at once
    assert findings["round"].status == "PASS"
    assert {one: one.read_bytes() for one in site.rglob("*") if one.is_file()} == before


def test_private_training_is_measured_with_its_noise(site: Path) -> None:
    rewrite_plan(site, privacy=NOISE, training={"keep": "last"})

    finding = found(site, "training")

    assert finding.measured["steps, block 'clinical'"] == NOISE["steps"]


def test_a_round_that_does_not_fit_is_found(site: Path) -> None:
    rewrite_plan(site, participation={"round-seconds": 1.0})

    finding = found(site, "round", mbit=10.0)

    assert finding.status == "FIX"
    assert "of the 1 s that the plan waits" in finding.said
    assert "plan-rounds" in finding.todo


def test_the_limits_of_the_clock_are_flowers() -> None:
    assert (clock.FAST, clock.SLOW) == (SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE)
