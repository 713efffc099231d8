"""One run, one plan, the same patients: whatever changes in between is noticed at the site."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from tiny_plans import clinics_only

from client.records import read_letter
from client.site import read_site_file
from client.unchanged import RunPins, fingerprint
from lego_core.chained_log import ChainedLog
from lego_core.errors import LogError, SiteRefusal
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.protocol import AskOffer, AskOutcomes, Offer, Outcomes, Refusal
from lego_core.records import Cohort
from simulations.in_process import FIRST_NODE_ID, InProcessGrid, run_in_process
from simulations.make_sites import make_sites

PLAN = clinics_only(hospitals=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "sites"
    make_sites(PLAN, folder)
    return folder


@pytest.fixture
def sites(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "sites"))


def a_run(sites: Path, *, number: int = 7) -> InProcessGrid:
    """A run whose server asks what the test wants."""
    grid = InProcessGrid(2, run_config={"plan": PLAN.name, "sites-dir": str(sites), "output": "out"})
    for context in grid.contexts:
        context.run_id = number
    return grid


def asked(run: InProcessGrid, question: AskOffer | AskOutcomes | None = None) -> Letter:
    """What the first site answers."""
    letter = (question or AskOffer()).letter()
    records = {
        "letter": ConfigRecord({"kind": letter.kind, "body": letter.body}),
        "tensors": ArrayRecord({}),
    }
    question = Message(RecordDict(records), dst_node_id=FIRST_NODE_ID, message_type=letter.kind)
    (reply,) = run.send_and_receive([question])
    return read_letter(reply)


def add_a_patient(sites: Path) -> None:
    for name in ("patients.csv", "clinical.csv"):
        path = sites / "site-0" / name
        table = pd.read_csv(path)
        more = table.head(1).assign(patient_id="one-more")
        pd.concat([table, more]).to_csv(path, index=False)


def change_a_value(sites: Path) -> None:
    path = sites / "site-0" / "clinical.csv"
    table = pd.read_csv(path)
    table.iloc[0, 1] += 1
    table.to_csv(path, index=False)


def change_an_outcome(sites: Path) -> None:
    path = sites / "site-0" / "patients.csv"
    table = pd.read_csv(path)
    table["class"] = 1 - table["class"]
    table.to_csv(path, index=False)


def hide_a_feature(sites: Path) -> None:
    path = sites / "site-0" / "clinical.csv"
    pd.read_csv(path).iloc[:, :-1].to_csv(path, index=False)


@pytest.mark.parametrize("change", [add_a_patient, change_a_value, change_an_outcome, hide_a_feature])
def test_a_site_whose_data_changed_between_rounds_declines(sites: Path, change: Any) -> None:
    run = a_run(sites)
    assert asked(run).kind == Offer.kind
    change(sites)

    refusal = Refusal.read(asked(run, AskOutcomes()))

    assert refusal.declined
    assert "its data are others than those that the run began with" in refusal.public
    assert "one-more" not in refusal.public
    assert asked(a_run(sites, number=8)).kind == Offer.kind  # a new run begins with the new data


def test_it_is_noticed_after_the_process_was_started_anew(sites: Path) -> None:
    asked(a_run(sites))
    change_a_value(sites)

    assert asked(a_run(sites)).kind == Refusal.kind  # Flower's own state of the run is gone


def test_data_that_come_back_go_on(sites: Path) -> None:
    run, path = a_run(sites), sites / "site-0" / "clinical.csv"
    asked(run)
    before = path.read_bytes()
    change_a_value(sites)
    asked(run)
    path.write_bytes(before)

    assert asked(run, AskOutcomes()).kind == Outcomes.kind


def test_files_written_anew_with_the_same_patients_go_on(sites: Path) -> None:
    run, path = a_run(sites), sites / "site-0" / "patients.csv"
    asked(run)
    pd.read_csv(path).sample(frac=1, random_state=0).to_csv(path, index=False)

    assert asked(run, AskOutcomes()).kind == Outcomes.kind


def test_a_plan_edited_during_a_run_is_declined(sites: Path) -> None:
    run = a_run(sites)
    asked(run)
    plain = RunPlan.load(sites / "plan.toml").to_plain()
    plain["training"]["learning-rate"] = 0.5
    (sites / "plan.toml").write_text(tomli_w.dumps(plain), encoding="utf-8")

    refusal = Refusal.read(asked(run, AskOutcomes()))

    assert refusal.declined
    assert "its plan was edited since: 'sha256sum' of the file was " in refusal.public
    assert asked(a_run(sites, number=8)).kind == Offer.kind


def test_a_whole_run_notes_plan_and_patients_once(sites: Path, tmp_path: Path) -> None:
    run_in_process(PLAN.name, sites=2, sites_dir=sites, output=tmp_path / "output")

    events = ChainedLog(sites / "site-0" / "runs.jsonl").events

    assert [one["about"] for one in events] == ["plan", "patients"]


def test_a_run_whose_data_change_at_one_site_goes_on_without_it(sites: Path, tmp_path: Path) -> None:
    rounds = 0

    def change_in_the_second_round(site: int, message: Message, answer: Any) -> Message:
        nonlocal rounds
        if site == 0 and message.metadata.message_type == "train.block":
            rounds += 1
            if rounds == 2:
                change_a_value(sites)
        return answer()

    run_in_process(
        PLAN.name, sites=2, sites_dir=sites, output=tmp_path / "output", fault=change_in_the_second_round
    )

    log = (tmp_path / "output" / "run.jsonl").read_text()
    assert "its data are others than those that the run began with" in log
    assert (tmp_path / "output" / "bundle" / "report.json").is_file()


def test_notes_that_were_changed_are_not_believed(sites: Path) -> None:
    asked(a_run(sites))
    path = sites / "site-0" / "runs.jsonl"
    path.write_text(path.read_text().replace('"sha256": "', '"sha256": "0', 1))

    with pytest.raises(LogError):
        RunPins(sites / "site-0", run="tiny/7").check_plan("0" * 64)


def test_runs_do_not_know_one_another(tmp_path: Path) -> None:
    RunPins(tmp_path, run="tiny/1").check_plan("a" * 64)
    RunPins(tmp_path, run="tiny/2").check_plan("b" * 64)
    RunPins(tmp_path, run="tiny/1").check_plan("a" * 64)

    with pytest.raises(SiteRefusal, match=r"run 'tiny/1'.*was a{16}… and is b{16}…"):
        RunPins(tmp_path, run="tiny/1").check_plan("b" * 64)


def test_a_fingerprint_does_not_know_the_order_of_patients(sites: Path) -> None:
    cohort = read_site_file(sites / "site-0" / "site.toml").data.load(sites / "site-0")
    turned = Cohort(cohort.records[::-1], cohort.schemas)

    assert fingerprint(cohort) == fingerprint(turned)
    assert fingerprint(cohort) != fingerprint(cohort.keep(cohort.records[1:]))
    assert fingerprint(cohort) != fingerprint(cohort.marked("test"))


def test_what_cannot_be_noted_is_not_begun(sites: Path) -> None:
    (sites / "site-0" / "runs.jsonl").mkdir()

    refusal = Refusal.read(asked(a_run(sites)))

    assert "'runs.jsonl' cannot be written" in refusal.public
    assert str(sites) not in refusal.public
