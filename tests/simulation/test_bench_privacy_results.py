"""What an examination comes to is written down, said aloud, and put beside a model that was rehearsed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_files import TASKS, tiny_dataset, tiny_plan
from typer.testing import CliRunner

from lego_core.assemble import build_models
from lego_core.bundle import ModelBundle, versions
from lego_core.errors import RunError
from lego_core.manifest import sign_bundle, signers_of
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.run_report import Examined, RunReport
from lego_core.signing import SigningKey
from lego_core.training import Trainer, TrainingSettings
from simulations.benchmarks.command import write_down
from simulations.benchmarks.privacy import counting, pieces, rehearsal
from simulations.benchmarks.privacy.canaries import Guessed
from simulations.benchmarks.privacy.command import results_of
from simulations.benchmarks.privacy.counting import Estimate
from simulations.benchmarks.privacy.examination import Examination, Extent
from simulations.benchmarks.privacy.findings import canary_row, conclusions, membership_row
from simulations.benchmarks.privacy.pieces import run_piece
from simulations.benchmarks.privacy.rehearsal import examine_bundle, hospitals_of
from simulations.benchmarks.privacy.shown import draw, markdown
from simulations.benchmarks.subject import Source
from simulations.cli import app
from simulations.make_sites import make_sites

TINY = Extent(patients=80, pairs=3, trials=1, largest=1, canaries=20, runs=1, rounds=1)
HOSPITALS = """
[simulation.data]
kind = "synthetic"
patients = 160
outcome = { kind = "class" }
modalities.one = { layout = "table", features = 60, strength = 0 }
[[simulation.groups]]
name = "clinic"
modalities = ["one"]
hospitals = 2
split = { train = 0.5, validation = 0.1, test = 0.4 }
"""
REPORT = RunReport(
    plan="tiny", description="", task="classification", status="complete", started="2026-01-01T00:00:00",
    seconds=1.0, privacy_kind="no-privacy", privacy_claim="None.", versions=versions(),
)  # fmt: skip


def row(value: float, spread: float, *, claimed: float | None = None) -> Examined:
    return membership_row(
        Estimate(value, value - spread, value + spread),
        attack="loss threshold", model="block a", plan="some plan", claimed=claimed,
    )  # fmt: skip


def audit(least: float, claimed: float) -> Examined:
    return canary_row(
        Guessed(100, 50, 40, members=300), least, model="block a", plan="some plan", claimed=claimed
    )


@pytest.mark.parametrize(
    ("value", "spread", "leaks", "words"),
    [(0.6, 0.05, True, "better than chance"), (0.52, 0.05, False, "no better"), (0.4, 0.05, False, "worse")],
)
def test_a_value_is_above_chance_only_if_its_interval_is(value, spread, leaks, words):
    found = row(value, spread)

    assert found.leaks == leaks
    assert words in found.sentence


def test_the_gate_is_said_aloud_where_a_plan_promises_an_epsilon():
    passed, missed = row(0.5, 0.04, claimed=3.0), row(0.51, 0.06, claimed=3.0)

    assert any("the gate is passed" in line for line in conclusions([passed]))
    assert any("GATE NOT PASSED" in line for line in conclusions([passed, missed]))
    assert any("no gate applies" in line for line in conclusions([row(0.9, 0.01)]))


def test_a_broken_claim_is_said_aloud():
    assert any(line.startswith("CLAIM BROKEN") for line in conclusions([audit(3.5, claimed=3.0)]))
    assert any("No canary speaks against" in line for line in conclusions([audit(2.5, claimed=3.0)]))


def test_an_examination_goes_on_where_it_was_and_writes_down_what_it_found(tmp_path, monkeypatch):
    dataset, plan = tmp_path / "small.toml", tmp_path / "plan.toml"
    dataset.write_text(
        tiny_dataset("one", "two", patients=90, outcome='{ kind = "class" }'), encoding="utf-8"
    )
    plan.write_text(tiny_plan("one", "two", task=TASKS["class"]), encoding="utf-8")
    monkeypatch.setattr(counting, "RESAMPLES", 50)
    source = Source(dataset=str(dataset), plan=str(plan))
    examination = Examination(source, TINY, 0, (), tmp_path / "out")
    all_pieces = examination.pieces()
    for piece in all_pieces:
        run_piece(examination, piece)

    results = results_of(examination, quick=True)
    draw(results, tmp_path / "figure.svg")

    assert len(all_pieces) == 2 * (6 + 2 + 1)  # two plans: models, modalities, trainings with canaries
    assert examination.pieces() == []
    assert {(one.plan, one.attack) for one in results.rows} == {
        (plan, attack)
        for plan in ("no-privacy", "secure-sum")
        for attack in ("loss threshold", "likelihood ratio", "inversion", "canaries")
    }
    assert "the merge" in {one.model for one in results.rows}
    assert all(sentence in markdown(results) for sentence in results.findings)
    assert b"<svg" in (tmp_path / "figure.svg").read_bytes()
    write_down(results, tmp_path, table=markdown(results))
    answer = CliRunner().invoke(
        app, ["bench", "document", "--privacy", str(tmp_path), "--output", str(tmp_path / "all")]
    )
    assert answer.exit_code == 0, answer.output
    assert results.findings[0] in (tmp_path / "all" / "PRIVACY.md").read_text(encoding="utf-8")
    monkeypatch.setattr(pieces, "train_block", None)  # nothing is trained twice
    assert results_of(examination, quick=True).rows == results.rows


@pytest.fixture
def rehearsed(tmp_path: Path) -> Path:
    """Two hospitals, and a bundle whose block learned their training patients by heart."""
    plan = RunPlan.parse(tiny_plan("one", task=TASKS["class"]) + HOSPITALS, where="x")
    make_sites(plan, tmp_path / "sites")
    cohort = plan.simulation.data.load()  # type: ignore[union-attr]
    agreement = Agreement(schemas=dict(cohort.schemas), task=plan.task)
    models = build_models(plan, agreement, ["one"], with_fused=False)
    bundle = ModelBundle(models, plan, agreement, REPORT)
    bundle.save(tmp_path / "bundle")
    trained = [one.patients.part("train") for one in hospitals_of(tmp_path, bundle)]
    everybody = trained[0].keep(record for own in trained for record in own.records)
    settings = TrainingSettings(learning_rate=3e-3, dropout=False, keep="last", epochs=100)
    block = models.merged.blocks["one"]
    Trainer(block, task=plan.task, settings=settings, device="cpu").fit(everybody, seed=0)
    bundle.save(tmp_path / "bundle")
    return tmp_path


def test_a_rehearsed_model_is_attacked_and_its_card_and_page_tell(rehearsed):
    told = CliRunner().invoke(app, ["bench", "privacy", "--of", str(rehearsed)])

    assert told.exit_code == 0, told.output
    bundle = ModelBundle.load(rehearsed / "bundle")
    (found,) = bundle.report.self_examination
    assert found.leaks
    assert found.low is not None
    assert found.low > 0.6
    assert "within each hospital" in found.sentence
    assert "## Self-examination" in (rehearsed / "bundle" / "card.md").read_text(encoding="utf-8")
    assert "<h2>Self-examination</h2>" in (rehearsed / "report.html").read_text(encoding="utf-8")
    assert json.loads((rehearsed / "bundle" / "report.json").read_bytes())["self_examination"]


def test_a_signed_bundle_is_not_touched_without_a_key(rehearsed, monkeypatch):
    ModelBundle.load(rehearsed / "bundle").save(rehearsed / "bundle", key=SigningKey.make())
    before = {path.name: path.read_bytes() for path in (rehearsed / "bundle").iterdir()}
    monkeypatch.setattr(rehearsal, "examine_bundle", None)  # nothing is computed

    told = CliRunner().invoke(app, ["bench", "privacy", "--of", str(rehearsed)])

    assert told.exit_code == 2
    assert "bears 1 signatures, and none would hold once the attacks stand in its report" in told.output
    assert "Nothing was computed or changed. Give --key FILE" in told.output
    assert {path.name: path.read_bytes() for path in (rehearsed / "bundle").iterdir()} == before


def test_a_signed_bundle_is_signed_anew_and_who_else_had_signed_is_named(rehearsed, tmp_path_factory):
    own, other = SigningKey.make(), SigningKey.make()
    file = tmp_path_factory.mktemp("keys") / "own.pem"
    own.save(file)
    ModelBundle.load(rehearsed / "bundle").save(rehearsed / "bundle", key=own)
    sign_bundle(rehearsed / "bundle", key=other)

    told = CliRunner().invoke(app, ["bench", "privacy", "--of", str(rehearsed), "--key", str(file)])

    assert told.exit_code == 0, told.output
    assert ModelBundle.load(rehearsed / "bundle", trusted_keys=[own.public]).report.self_examination
    assert signers_of(rehearsed / "bundle") == [own.public]
    assert f"The signature of {other.public} fell away with the change" in told.output
    assert f"The signature of {own.public}" not in told.output


def test_a_bundle_whose_signature_does_not_hold_is_not_vouched_for(rehearsed, tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "own.pem"
    SigningKey.make().save(file)
    bundle = ModelBundle.load(rehearsed / "bundle")
    bundle.save(rehearsed / "bundle", key=SigningKey.make())
    signed = (rehearsed / "bundle" / "signature.json").read_bytes()
    replace(bundle, report=REPORT.model_copy(update={"description": "forged"})).save(rehearsed / "bundle")
    (rehearsed / "bundle" / "signature.json").write_bytes(signed)

    told = CliRunner().invoke(app, ["bench", "privacy", "--of", str(rehearsed), "--key", str(file)])

    assert told.exit_code == 2
    assert "does not hold. It is forged, or the bundle was changed since" in told.output


def test_a_key_without_a_rehearsal_is_refused(tmp_path):
    told = CliRunner().invoke(app, ["bench", "privacy", "--key", str(tmp_path / "own.pem")])

    assert told.exit_code == 2
    assert "no --of names one" in told.output


def test_an_untrained_model_of_a_rehearsal_gives_nobody_away(rehearsed):
    bundle = ModelBundle.load(rehearsed / "bundle")
    models = build_models(bundle.plan, bundle.agreement, ["one"], with_fused=False).eval()

    (found,), notes = examine_bundle(replace(bundle, models=models), hospitals_of(rehearsed, bundle))

    assert not found.leaks
    assert notes == []


def test_hospitals_without_test_patients_are_compared_with_others_and_it_is_said(rehearsed):
    bundle = ModelBundle.load(rehearsed / "bundle")
    first, second = hospitals_of(rehearsed, bundle)
    trained = replace(first, patients=first.patients.part("train"))
    tested = replace(second, patients=second.patients.part("test"))

    (found,), _ = examine_bundle(bundle, [trained, tested])
    none, notes = examine_bundle(bundle, [trained])

    assert "of other hospitals, since no hospital has both" in found.sentence
    assert none == []
    assert "0 are test patients, and 10 of each are the least" in notes[0]


def test_paired_patients_are_members_of_the_fused_model_and_not_of_the_blocks(tmp_path):
    paired = HOSPITALS.replace('modalities = ["one"]', 'modalities = ["one", "two"]').replace(
        "modalities.one = {", 'modalities.two = { layout = "table", features = 3 }\nmodalities.one = {'
    )
    plan = RunPlan.parse(tiny_plan("one", "two", task=TASKS["class"]) + "[fuse]\n" + paired, where="x")
    make_sites(plan, tmp_path / "sites")
    agreement = Agreement(schemas=dict(plan.simulation.data.load().schemas), task=plan.task)  # type: ignore[union-attr]
    models = build_models(plan, agreement, ["one", "two"], with_fused=True).eval()
    bundle = ModelBundle(models, plan, agreement, REPORT)

    (found,), notes = examine_bundle(bundle, hospitals_of(tmp_path, bundle))

    assert found.model == "the fused model"
    assert [note.split(":")[0] for note in notes] == [
        f"Nothing is said of the merge, shown {name} alone" for name in ("one", "two")
    ]


def test_a_folder_without_hospitals_is_refused(rehearsed, tmp_path_factory):
    bundle = ModelBundle.load(rehearsed / "bundle")

    with pytest.raises(RunError, match=r"has no sites/site-N/site.toml, so nobody can say who trained"):
        hospitals_of(tmp_path_factory.mktemp("empty"), bundle)


def test_nothing_to_document_is_said():
    answer = CliRunner().invoke(app, ["bench", "document"])

    assert answer.exit_code == 2
    assert "There is nothing to document" in answer.output
