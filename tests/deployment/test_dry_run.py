"""A plan played dry: does it say what a run would come to, and what would be refused?"""

from pathlib import Path

import pytest
import tomli_w
from preflighted import SECURE_SUM, changed
from typer.testing import CliRunner

from deploy.preflight.cli import app
from deploy.preflight.dry_run import DryRun, play_dry, shortened
from deploy.preflight.made_up import made_up_hospitals, read_features
from deploy.preflight.round_advice import advice_on_rounds
from lego_core.errors import PlanError
from lego_core.payload import payloads
from lego_core.plan import RunPlan, shipped_plans
from lego_core.records import ModalitySchema

SCHEMAS = dict(map(read_features, ("clinical=table:3", "blood=table:2")))
ROUNDS = {"rounds": 7, "local-epochs": 2, "paired-sites-train-blocks": True}
SOME_JSON = 60_000  # bytes of the bodies of letters, beside their tensors


def plan(**tables: object) -> RunPlan:
    """The tiny plan for real sites, whose paired patients train blocks."""
    plain = changed(rounds=ROUNDS, **tables).to_plain()
    del plain["simulation"]
    return RunPlan.model_validate(plain)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> DryRun:
    return play_dry(plan(fuse={"rounds": 3}), SCHEMAS, tmp_path_factory.mktemp("dry"), sites=2)


def test_a_plan_in_order_comes_to_its_end(played: DryRun) -> None:
    assert (played.problem, played.refused) == ("", ())


def test_every_question_is_counted_as_often_as_a_run_asks_it(played: DryRun) -> None:
    once = 1 + 2 + 1 + 2 + 1 + 1  # offer, statistics, outcomes, two blocks and the fused model scored, report

    assert played.traffic.messages(0) == once + 2 * 7 + 3


@pytest.mark.parametrize("kind", ["train.block", "train.fuse", "query.statistics", "query.outcomes"])
def test_bytes_are_those_that_the_contract_foretells(played: DryRun, kind: str) -> None:
    foretold = {
        (one.question, one.about): one for one in payloads(played.plan, SCHEMAS) if one.question == kind
    }
    weighed = {key: one for key, one in played.traffic.sites[0].items() if key[0] == kind}

    assert foretold.keys() == weighed.keys()
    for key, one in foretold.items():
        assert one.times == weighed[key].times
        assert one.up <= weighed[key].up <= one.up + SOME_JSON
        assert one.down <= weighed[key].down <= one.down + SOME_JSON


@pytest.mark.slow
def test_secure_sums_are_foretold_word_by_word(tmp_path: Path) -> None:
    summed = plan(**SECURE_SUM)

    played = play_dry(summed, SCHEMAS, tmp_path, sites=3)

    assert (played.problem, played.refused) == ("", ())
    foretold = {one.about: one.up for one in payloads(summed, SCHEMAS) if one.question == "train.block"}
    for about, size in foretold.items():
        leaving = played.traffic.leaving[0][about]
        assert {letter for letter, *_ in leaving} == {"masked-vectors"}
        assert sum(4 * shape[0] for _, _, shape, _ in leaving) == size
    assert (
        played.traffic.messages(0) > 5 * 7
    )  # keys, shares, question, confirmation and opening in each round


def test_too_few_sites_for_a_sum_are_found_without_any_site(tmp_path: Path) -> None:
    played = play_dry(plan(**SECURE_SUM), SCHEMAS, tmp_path, sites=2)

    assert "has 2 sites" in played.problem


@pytest.mark.slow
def test_private_training_is_played_with_its_noise(tmp_path: Path) -> None:
    noise = {"kind": "patient-dp", "epsilon": 3.0, "noise-multiplier": 2.0, "batch-size": 50, "steps": 40}

    played = play_dry(plan(privacy=noise, training={"keep": "last"}), SCHEMAS, tmp_path, sites=2)

    assert (played.problem, played.refused) == ("", ())


@pytest.mark.parametrize("name", sorted(shipped_plans()))
def test_a_shortened_plan_has_the_same_models_and_sums(name: str) -> None:
    whole = RunPlan.shipped(name)
    short = shortened(whole, sites=9)

    assert short.latent == whole.latent
    assert short.modalities == whole.modalities
    assert short.privacy.kind == whole.privacy.kind
    assert short.privacy.sum_terms == whole.privacy.sum_terms
    assert short.merging == whole.merging
    assert short.task == whole.task
    assert (short.fuse is None) == (whole.fuse is None)
    assert short.rounds.rounds == 1


@pytest.mark.parametrize(
    ("text", "layout", "features", "grid"),
    [
        ("a=table:12", "table", 12, None),
        ("b=bag:5", "bag", 5, None),
        ("c=image:1:32x16", "image", 1, (32, 16)),
    ],
)
def test_forms_of_modalities_are_read(text: str, layout: str, features: int, grid: object) -> None:
    name, schema = read_features(text)

    assert (name, schema.layout, schema.num_features, schema.grid) == (text[0], layout, features, grid)


@pytest.mark.parametrize(
    "text", ["", "a", "a=table", "a=table:0", "a=table:x", "a=tabel:3", "=table:3", "a=image:1"]
)
def test_what_is_no_form_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="does not say what a modality looks like"):
        read_features(text)


def test_a_modality_without_a_form_is_refused() -> None:
    with pytest.raises(PlanError, match="Nothing says what 'blood' looks like"):
        made_up_hospitals(plan(), {"clinical": SCHEMAS["clinical"]})


def test_the_plans_own_hospitals_are_played() -> None:
    chosen = RunPlan.shipped("pbc-secure-sum")
    schemas = {
        "clinical": ModalitySchema(layout="table", features=("age", "sex")),
        "laboratory": ModalitySchema(layout="series", features=("bili",)),
    }

    hospitals = made_up_hospitals(chosen, schemas)

    assert chosen.simulation is not None
    assert len(hospitals) == chosen.simulation.num_hospitals
    assert hospitals["clinic-1"].modalities == ("clinical",)
    assert set(hospitals["teaching-hospital-2"].modalities) == {"clinical", "laboratory"}


@pytest.mark.slow
def test_the_command_ends_with_pass_or_fix(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(tomli_w.dumps(plan(**SECURE_SUM).to_plain()))
    options = [
        "dry-run",
        str(tmp_path / "mine.toml"),
        "--features",
        "clinical=table:3",
        "--features",
        "blood=table:2",
    ]

    well = CliRunner().invoke(app, [*options, "--sites", "3", "--mbit", "4", "--seconds-per-step", "0.1"])
    ill = CliRunner().invoke(app, [*options, "--sites", "2"])

    assert (well.exit_code, ill.exit_code) == (0, 1), well.output + ill.output
    assert well.output.splitlines()[-1].startswith("PASS")
    assert "FIX " in ill.output.splitlines()[-1]


def test_a_plan_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    plain = plan(**SECURE_SUM).to_plain()
    plain["aggregation"] = {"kind": "median"}
    (tmp_path / "mine.toml").write_text(tomli_w.dumps(plain))

    result = CliRunner().invoke(app, ["dry-run", str(tmp_path / "mine.toml")])

    assert result.exit_code == 2
    assert "aggregation 'median' must compare" in " ".join(result.output.split())


def advised(chosen: RunPlan, **changes: float) -> str:
    usual = {"mbit": 4.0, "seconds_per_step": 0.3, "wait_seconds": 300.0, "latency_seconds": 0.0}
    return "\n".join(advice_on_rounds(chosen, SCHEMAS, patients=100, margin=0.25, **{**usual, **changes}))


def test_rounds_that_fit_are_left_as_they_are() -> None:
    said = advised(plan())

    assert "7 rounds of 8 steps, as the plan has them" in said
    assert "[rounds]\nrounds = 7\nlocal-epochs = 2" in said


def test_no_round_that_fits_is_a_sentence_that_helps() -> None:
    with pytest.raises(PlanError, match=r"One epoch of 4 steps takes .* Wait \d+ s .* larger batches"):
        advised(plan(), seconds_per_step=60.0)


def test_private_rounds_have_fewer_steps() -> None:
    noise = {"kind": "patient-dp", "epsilon": 3.0, "noise-multiplier": 2.0, "batch-size": 50, "steps": 40}

    said = advised(plan(privacy=noise, training={"keep": "last"}), seconds_per_step=5.0)  # 20 of 10 s fit

    assert "14 rounds of 20 steps, in place of the plan's 7 of 40" in said
    assert "[privacy]\nsteps = 20" in said


def test_rounds_that_are_too_long_become_more() -> None:
    said = advised(plan(), seconds_per_step=15.0, wait_seconds=300.0)

    assert "14 rounds of 4 steps, in place of the plan's 7 of 8" in said
    assert "rounds = 14\nlocal-epochs = 1" in said
