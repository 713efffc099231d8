"""What leaves a site: declared letters and public text, and nothing that a patient could be known by."""

import json
import logging
import shutil
import struct
import tomllib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tomli_w
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.serde import message_to_proto
from rehearsal import Rehearsal, Run
from tiny_plans import group, patients_of, tiny_plan, with_survival

from client.app import app as client_app
from client.gate import gate
from client.records import read_letter, reply_with
from lego_core.errors import DataError, LegoError, SiteRefusal
from lego_core.letters import Letter
from lego_core.parcel_letters import PARCEL_ANSWERS
from lego_core.plan import Merging
from lego_core.protocol import (
    ANSWERS,
    Agreement,
    AskFuseUpdate,
    AskGrams,
    AskOffer,
    AskStatistics,
    Grams,
    Offer,
    Refusal,
    SiteReport,
    Statistics,
)
from lego_core.records import ModalitySchema
from lego_core.sum_letters import SUM_ANSWERS
from lego_core.tasks import Classification
from lego_core.trunk import LatentContract
from simulations.in_process import FIRST_NODE_ID, InProcessGrid

PATIENT = "PLANTED-PATIENT"
VALUE = 1234.567749  # a float32
DAYS = 4321.125

FUSE_AND_REGMEAN = """
[fuse]
rounds = 1
[merging.heads]
kind = "regmean"
"""
SOME_TEST = (0.7, 0.15, 0.15)
HOSPITALS = patients_of(
    group("clinic", "clinical", share=2, split=(0.5, 0.2, 0.3)),
    group("practice", "clinical", share=0.35, split=(0.5, 0.1, 0.4)),
    group("lab", "blood", split=SOME_TEST),
    group("teaching", "clinical", "blood", share=3, split=(0.4, 0.2, 0.4)),
    group("broken", "blood", split=SOME_TEST),
    patients=170,
)
CLINIC, PRACTICE, LAB, TEACHING, BROKEN = range(5)


def plant(sites: Path) -> None:
    """Give patients names that can be found again, and one patient of each site values that can."""
    for path in sites.glob("site-*/*.csv"):
        frame = pd.read_csv(path, dtype=str)
        frame["patient_id"] = frame["patient_id"].str.replace("patient", PATIENT)
        column = "time_days" if path.name == "patients.csv" else "feature-0"
        frame[column] = [str(DAYS if column == "time_days" else VALUE), *frame[column][1:]]
        frame.to_csv(path, index=False)
    broken = sites / f"site-{BROKEN}" / "blood.csv"
    frame = pd.read_csv(broken, dtype=str)
    frame.assign(**{"feature-1": frame["patient_id"]}).to_csv(broken, index=False)


@pytest.fixture(scope="module")
def overheard(run: Run) -> Rehearsal:
    return run(with_survival(tiny_plan(FUSE_AND_REGMEAN + HOSPITALS)), prepare=plant)


def everything_sent(overheard: Rehearsal) -> bytes:
    return b"\n".join(sent.in_bytes for sent in overheard.wire.answered)


# ---- a whole run, overheard -----------------------------------------------------------------------


def test_run_of_planted_patients_ends_well(overheard: Rehearsal) -> None:
    kinds = {kind for kind in ANSWERS if overheard.answered(kind)}

    assert overheard.error is None
    assert kinds == set(ANSWERS) - {
        *SUM_ANSWERS,
        *PARCEL_ANSWERS,
    }  # so that nothing below is true for want of letters
    assert PATIENT in (overheard.sites / f"site-{CLINIC}" / "patients.csv").read_text()


def test_no_identifier_of_a_patient_leaves(overheard: Rehearsal) -> None:
    assert PATIENT.encode() not in everything_sent(overheard)


def test_no_path_leaves(overheard: Rehearsal) -> None:
    sent = everything_sent(overheard)

    for path in (str(overheard.sites), "site-0", "clinical.csv", "Traceback"):
        assert path.encode() not in sent


@pytest.mark.parametrize("value", [VALUE, DAYS])
def test_no_value_of_a_patient_leaves(overheard: Rehearsal, value: float) -> None:
    sent = everything_sent(overheard)

    for written in (struct.pack("<f", value), struct.pack("<d", value), f"{value:.6g}".encode()):
        assert written not in sent


def test_no_identifier_reaches_what_the_run_hands_over(overheard: Rehearsal) -> None:
    for path in overheard.output.rglob("*"):
        if path.is_file():
            assert PATIENT.encode() not in path.read_bytes()


@pytest.mark.parametrize("site", [CLINIC, BROKEN])
def test_no_datum_stands_in_the_site_s_list_of_what_left(overheard: Rehearsal, site: int) -> None:
    listed = (overheard.sites / f"site-{site}" / "audit.jsonl").read_text()

    for planted in (PATIENT, str(overheard.sites), f"{VALUE:.6g}", str(DAYS)):
        assert planted not in listed


def test_log_of_the_site_holds_the_details(overheard: Rehearsal) -> None:
    log = overheard.local_log(BROKEN)

    assert PATIENT in log
    assert str(overheard.sites) in log
    assert "The table of modality 'blood' holds text" in log


def test_only_declared_kinds_of_letters_leave(overheard: Rehearsal) -> None:
    known = {kind.kind: kind for kind in ANSWERS}

    for sent in overheard.wire.answered:
        assert not sent.message.has_error()
        known[sent.letter.kind].read(sent.letter)


def test_list_of_what_may_leave_is_closed() -> None:
    assert [kind.__name__ for kind in ANSWERS] == [
        "Offer", "Statistics", "Outcomes", "Progress", "Update", "Grams", "SiteReport", "Refusal",
        "SumKeys", "SumShares", "MaskedVectors", "SumConfirmations", "SumOpening",
        "Held", "PieceTaken", "Piece", "ParcelsDropped",
    ]  # fmt: skip


def test_offers_count_in_tens(overheard: Rehearsal) -> None:
    offers = [Offer.read(sent.letter) for sent in overheard.answered(Offer)]
    counts = [one.patients for offer in offers for one in offer.modalities.values()]
    counts += [offer.paired_patients for offer in offers]

    assert len(offers) == 4
    assert any(counts)
    assert all(count % 10 == 0 for count in counts)


def test_fewer_than_ten_patients_are_never_counted(overheard: Rehearsal) -> None:
    reports = [SiteReport.read(sent.letter) for sent in overheard.answered(SiteReport)]

    rows = [row for report in reports for row in (*report.scores, *report.charts, *report.validation)]
    assert rows
    assert all(row.count >= 10 for row in rows)


def test_small_site_withholds_its_scores(overheard: Rehearsal) -> None:
    (report,) = [SiteReport.read(sent.letter) for sent in overheard.answered(SiteReport, site=PRACTICE)]
    (offer,) = [Offer.read(sent.letter) for sent in overheard.answered(Offer, site=PRACTICE)]

    assert 0 < len(overheard.patients(PRACTICE).part("test")) < 10
    assert report.scores == ()
    assert report.withheld > 0
    assert offer.modalities["clinical"].patients == 0
    assert offer.modalities["clinical"].trains


def test_sums_hold_one_number_per_feature(overheard: Rehearsal) -> None:
    letters = [sent.letter for sent in overheard.answered(Statistics)]

    assert letters
    for letter in letters:
        features = len(overheard.bundle.agreement.schemas[Statistics.read(letter).modality].features)
        sizes = {name: tuple(tensor.shape) for name, tensor in letter.tensors.items()}
        assert {sizes[name] for name in ("count", "total", "total_squares")} == {(features,)}
        outcomes = {"num_patients", "counts", "event_times", "censored_times"}
        assert sizes.keys() <= {"count", "total", "total_squares"} | outcomes


# ---- the door itself ---------------------------------------------------------------------------------

Handler = Callable[[Message], Message]
RUN_IDS = count(2000)


def knock(
    handler: Handler, folder: Path, *, node_config: dict[str, Any] | None = None
) -> tuple[Letter, bytes]:
    """Ask a site whose code is the handler, and give its letter and the bytes it sent."""
    app = ClientApp(mods=[gate])

    @app.query("offer")
    def answer(message: Message, context: object) -> Message:
        return handler(message)

    return ask(app, folder, node_config=node_config)


def ask(
    app: ClientApp,
    folder: Path,
    *,
    letter: Letter | None = None,
    plan: str = "tiny",
    sites_dir: str | None = None,
    nodes: int = 1,
    node_config: dict[str, Any] | None = None,
) -> tuple[Letter, bytes]:
    """Ask the first of some nodes, in a run of its own, for its offer if not told otherwise."""
    where = str(folder) if sites_dir is None else sites_dir
    grid = InProcessGrid(nodes, run_config={"plan": plan, "sites-dir": where, "output": "out"}, app=app)
    grid.contexts[0].run_id = next(RUN_IDS)
    if node_config:
        grid.contexts[0].node_config = node_config
    letter = letter or AskOffer().letter()
    records = {
        "letter": ConfigRecord({"kind": letter.kind, "body": letter.body}),
        "tensors": ArrayRecord(dict(letter.tensors)),
    }
    question = Message(RecordDict(records), dst_node_id=FIRST_NODE_ID, message_type=letter.kind)
    (reply,) = grid.send_and_receive([question])
    return read_letter(reply), message_to_proto(reply).SerializeToString()


def failing(error: Exception) -> Handler:
    def handler(message: Message) -> Message:
        raise error

    return handler


def sending(letter: Letter) -> Handler:
    return lambda message: reply_with(letter, message)


@pytest.mark.parametrize(
    "error",
    [
        KeyError(PATIENT),
        ValueError(f"row {PATIENT}"),
        FileNotFoundError(f"/data/{PATIENT}.csv"),
        RuntimeError(PATIENT),
        AssertionError(PATIENT),
    ],
    ids=lambda error: type(error).__name__,
)
def test_text_of_an_unforeseen_error_stays(error: Exception, tmp_path: Path) -> None:
    letter, sent = knock(failing(error), tmp_path)

    refusal = Refusal.read(letter)
    log = (tmp_path / "site-0" / "site.log").read_text()
    assert PATIENT.encode() not in sent
    assert not refusal.declined
    assert refusal.public.startswith(
        "The site failed; its operator has the details in the site's log (incident "
    )
    assert PATIENT in log
    assert refusal.public.split("incident ")[1].rstrip(").") in log


def test_public_text_of_our_errors_leaves_and_the_rest_stays(tmp_path: Path) -> None:
    letter, sent = knock(failing(DataError("A column is missing.", local=PATIENT)), tmp_path)

    assert Refusal.read(letter) == Refusal(declined=False, public="A column is missing.")
    assert PATIENT.encode() not in sent
    assert PATIENT in (tmp_path / "site-0" / "site.log").read_text()


def test_cause_of_our_errors_stays(tmp_path: Path) -> None:
    def handler(message: Message) -> Message:
        try:
            return {}[PATIENT]
        except KeyError as error:
            raise DataError("A column is missing.") from error

    _, sent = knock(handler, tmp_path)

    assert PATIENT.encode() not in sent
    assert PATIENT in (tmp_path / "site-0" / "site.log").read_text()


def test_refusal_is_told_from_a_failure(tmp_path: Path) -> None:
    letter, _ = knock(failing(SiteRefusal("This site declines.")), tmp_path)

    assert Refusal.read(letter).declined


def junk_records(message: Message) -> Message:
    return Message(RecordDict({"records": ArrayRecord({"x": torch.ones(3)})}), reply_to=message)


OFFER = Offer(
    site="east", plan="tiny", latent=LatentContract(), modalities={}, paired_patients=0, paired=False
)
UNDECLARED: dict[str, tuple[Handler, str]] = {
    "undeclared kind": (
        sending(Letter("records", json.dumps({"patient": PATIENT}))),
        "A letter of kind 'records' may not leave a site",
    ),
    "tensors with an offer": (
        sending(OFFER.letter({"records": torch.ones(3)})),
        "A letter of kind 'offer' may carry no tensors and carried 1. Nothing was sent.",
    ),
    "tensors with a refusal": (
        sending(Refusal(declined=True, public="No.").letter({"records": torch.ones(3)})),
        "A letter of kind 'refusal' may carry no tensors",
    ),
    "undeclared key": (
        sending(Letter("offer", OFFER.letter().body[:-1] + f', "note": "{PATIENT}"}}')),
        "key 'note': there is no such key",
    ),
    "other records": (junk_records, "A message with records ['records'] came"),
}


@pytest.mark.parametrize("name", UNDECLARED)
def test_what_was_not_declared_is_stopped(name: str, tmp_path: Path) -> None:
    handler, sentence = UNDECLARED[name]

    letter, sent = knock(handler, tmp_path)

    assert sentence in Refusal.read(letter).public
    assert not letter.tensors
    assert PATIENT.encode() not in sent


def test_handler_that_answers_nothing_still_gets_an_answer_out(tmp_path: Path) -> None:
    letter, _ = knock(lambda message: None, tmp_path)  # type: ignore[arg-type, return-value]

    assert "incident" in Refusal.read(letter).public


def test_declared_letter_goes_out_as_it_is(tmp_path: Path) -> None:
    letter, _ = knock(sending(OFFER.letter()), tmp_path)

    assert Offer.read(letter) == OFFER
    assert [path.name for path in (tmp_path / "site-0").iterdir()] == ["audit.jsonl"]


def test_log_that_cannot_be_written_leaks_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / PATIENT).write_text("a file where a folder should be")

    with caplog.at_level(logging.ERROR):
        letter, sent = knock(
            failing(KeyError(PATIENT)),
            tmp_path,
            node_config={"site-file": str(tmp_path / PATIENT / "site.toml")},
        )

    assert "incident" in Refusal.read(letter).public
    assert PATIENT.encode() not in sent
    assert PATIENT in caplog.text


# ---- a hospital's own node -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hospital(run: Run) -> Path:
    """The description of a site, where a hospital keeps it."""
    ended = run(with_survival(tiny_plan("[rounds]\nrounds = 1")))
    path = ended.sites / "site-0" / "site.toml"
    told = tomllib.loads(path.read_text())
    silent = path.with_name("silent.toml")
    silent.write_text(tomli_w.dumps(told), encoding="utf-8")
    path.write_text(tomli_w.dumps({**told, "rules": {"privacy": ["no-privacy"]}}), encoding="utf-8")
    return path


def test_hospital_that_does_not_say_which_privacy_it_accepts_takes_no_part(hospital: Path) -> None:
    silent = hospital.with_name("silent.toml")

    letter, _ = ask(
        client_app, hospital.parent, plan="pbc", sites_dir="", node_config={"site-file": str(silent)}
    )

    refusal = Refusal.read(letter)
    assert refusal.declined
    assert "does not say which kinds of privacy plans it accepts. No data was opened." in refusal.public
    assert "there are ['no-privacy', 'secure-sum', 'patient-dp']" in refusal.public


def test_hospital_answers_from_its_own_folder(hospital: Path) -> None:
    letter, sent = ask(
        client_app, hospital.parent, plan="pbc", sites_dir="", node_config={"site-file": str(hospital)}
    )

    assert Offer.read(letter).site == "clinic-1"
    assert Offer.read(letter).plan == "pbc"
    assert str(hospital.parent).encode() not in sent


def test_hospital_declines_a_run_that_names_a_path(hospital: Path) -> None:
    letter, _ = ask(
        client_app, hospital.parent, plan="pbc", sites_dir="/etc", node_config={"site-file": str(hospital)}
    )

    refusal = Refusal.read(letter)
    assert refusal.declined
    assert refusal.public.startswith("This site declines: the run names a sites-dir")
    assert "/etc" not in refusal.public
    assert "names a sites-dir" in (hospital.parent / "site.log").read_text()


def test_hospital_says_that_it_has_no_such_plan(hospital: Path) -> None:
    letter, _ = ask(
        client_app, hospital.parent, plan="unheard-of", sites_dir="", node_config={"site-file": str(hospital)}
    )

    assert "There is no shipped plan 'unheard-of'" in Refusal.read(letter).public


# ---- questions that cannot be answered ---------------------------------------------------------------------


def test_site_says_that_it_does_not_have_what_it_is_asked_about(hospital: Path) -> None:
    schema = ModalitySchema(layout="table", features=("x",))
    question = AskStatistics(modality="scan", schema_of_group=schema)

    letter, _ = ask(client_app, hospital.parents[1], letter=question.letter())

    public = Refusal.read(letter).public
    assert public.startswith("This site was asked about modality 'scan' and has ['clinical'].")


def test_site_says_that_its_plan_has_no_fuse_rounds(hospital: Path) -> None:
    agreement = Agreement(schemas={}, task=Classification(classes=("0", "1")))
    question = AskFuseUpdate(agreement=agreement, modalities=("clinical",), round=1)

    letter, _ = ask(client_app, hospital.parents[1], letter=question.letter())

    assert Refusal.read(letter).public.startswith("Plan 'tiny' has no [fuse]")


def test_site_declines_to_give_matrices_that_its_own_plan_has_no_use_for(
    overheard: Rehearsal, tmp_path: Path
) -> None:
    (question,) = overheard.asked(AskGrams, site=CLINIC)
    sites = shutil.copytree(overheard.sites, tmp_path / "sites")
    answered, _ = ask(client_app, sites, letter=question.letter)
    without = overheard.plan.model_copy(update={"merging": Merging()})
    (sites / "plan.toml").write_text(tomli_w.dumps(without.to_plain()), encoding="utf-8")

    declined, _ = ask(client_app, sites, letter=question.letter)

    refusal = Refusal.read(declined)
    assert answered.kind == Grams.kind
    assert refusal.declined
    assert refusal.public.startswith(
        "This site declines: it was asked for Gram matrices of block 'clinical', and its plan 'tiny' merges "
        "by methods that need none"
    )
    assert not declined.tensors


def test_question_of_a_newer_server_is_refused_by_key(hospital: Path) -> None:
    letter, _ = ask(client_app, hospital.parents[1], letter=Letter("query.statistics", '{"dialect": 2}'))

    assert "key 'dialect': there is no such key" in Refusal.read(letter).public


# ---- sites that are played without a folder ---------------------------------------------------------


def test_hospital_of_a_shipped_plan_is_played_without_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    letter, _ = ask(client_app, tmp_path, plan="two-hospitals", sites_dir="", nodes=2)

    assert Offer.read(letter).site == "clinic"
    assert [one.name for one in tmp_path.rglob("*") if one.is_file()] == ["audit.jsonl"]


def test_site_declines_where_nodes_and_hospitals_do_not_match(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    letter, _ = ask(client_app, tmp_path, plan="two-hospitals", sites_dir="", nodes=3)

    refusal = Refusal.read(letter)
    assert refusal.declined
    assert "plays 2 hospitals and Flower started 3 nodes" in refusal.public
    assert "num-supernodes=2" in refusal.public


def test_every_error_of_ours_keeps_its_local_text_out_of_its_public_one() -> None:
    kinds = [LegoError, *LegoError.__subclasses__()]

    assert all(str(kind("said", local=PATIENT)) == "said" for kind in kinds)
