"""A block is taken out: the rest is merged as if it had never been there, and what it cost is said."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from prediction.serving import bundle_of, made_up, write_site
from typer.testing import CliRunner, Result

from lego_core import Cohort, LegoMerge
from lego_core.bundle import ModelBundle
from lego_core.cli import app
from lego_core.errors import BundleError, DataError, MergeError
from lego_core.evaluation import evaluate, pool
from lego_core.leaving import blocks_of_site, change_in_report, change_on_own, influence, without_blocks
from lego_core.manifest import read_manifest, signers_of
from lego_core.prediction import choose_model, predict
from lego_core.recommendation import Recommendation
from lego_core.run_report import RoundSummary, RunReport
from lego_core.signing import SigningKey

NAMES = ("clinical", "visits", "slide")
COHORT = made_up(patients=80).only(*NAMES)
TRAINED = {"clinical": ("north", "south"), "visits": ("east",), "slide": ("east", "south")}


def with_report(bundle: ModelBundle, cohort: Cohort) -> ModelBundle:
    """The bundle with the scores that an evaluation of these patients gives, and rounds of some sites."""
    task = bundle.agreement.task
    site = evaluate(
        bundle.models, cohort.marked("test"), task=task, all_modalities=list(cohort.schemas), site="here",
        seed=0, bootstrap=20, smallest_count=2, reference="test",
    )  # fmt: skip
    results = pool({("here",): site}, metric=task.metric, best_block="visits")
    rounds = tuple(
        RoundSummary(phase="blocks", round=1, modality=name, asked=sites, answered=sites)
        for name, sites in TRAINED.items()
        if name in cohort.schemas
    )
    features = {name: schema.num_features for name, schema in cohort.schemas.items()}
    about = {
        "results": results,
        "rounds": rounds,
        "features": features,
        "parameters": {**features, "fused": 9},
    }
    return replace(bundle, report=bundle.report.model_copy(update=about))


BUNDLE = with_report(bundle_of(COHORT), COHORT)


def logits(merge: LegoMerge, cohort: Cohort) -> torch.Tensor:
    with torch.no_grad():
        return merge(cohort.batch())


# ---- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "merging",
    [
        {},
        {"latents": {"kind": "mean"}},
        {"modality-weights": {"clinical": 3.0, "visits": 1.0, "slide": 0.5}},
        {"modality-weights": "validation"},
        {"heads": {"kind": "modality-arithmetic"}},
        {"heads": {"kind": "regmean"}},
    ],
)
def test_the_new_merge_says_what_the_old_one_says_without_the_modality(merging):
    old = bundle_of(COHORT, more={"merging": merging})

    new = without_blocks(old, ["visits"])

    patients = COHORT.only("clinical", "slide")
    torch.testing.assert_close(logits(new.models.merged, patients), logits(old.models.merged, patients))
    assert new.models.merged.modalities == ("clinical", "slide")
    assert list(new.agreement.schemas) == ["clinical", "slide"]
    assert new.models.fused is None


@pytest.mark.parametrize("kind", ["linear", "slerp", "ties"])
def test_merged_trunks_are_merged_again(kind):
    old = bundle_of(COHORT, more={"merging": {"trunk": {"kind": kind}}}, fused=False)
    old = _merged_honestly(old)
    kept = [old.models.merged.blocks[name] for name in ("clinical", "slide")]
    start = _untrained_trunk(old)
    wanted = LegoMerge(kept, trunk=old.plan.merging.trunk, start=start)

    new = without_blocks(old, ["visits"])

    patients = COHORT.only("clinical", "slide")
    torch.testing.assert_close(logits(new.models.merged, patients), logits(wanted.eval(), patients))


def test_trunks_whose_start_is_not_in_the_bundle_are_refused():
    old = bundle_of(COHORT, more={"merging": {"trunk": {"kind": "ties"}}}, fused=False)

    with pytest.raises(MergeError, match="from a common start that is not in the bundle"):
        without_blocks(old, ["visits"])


def test_trunks_that_take_sums_of_patients_are_refused():
    old = bundle_of(COHORT, more={"merging": {"trunk": {"kind": "regmean"}}}, fused=False)

    with pytest.raises(MergeError, match="'regmean', which works with sums over the sites' patients"):
        without_blocks(old, ["visits"])


def test_the_last_two_blocks_leave_one_that_predicts_alone():
    new = without_blocks(BUNDLE, ["visits", "slide"])

    block = predict(BUNDLE, COHORT, model="block:clinical")["risk"]
    alone = predict(new, COHORT, model="merge")["risk"]
    assert alone.tolist() == pytest.approx(block.tolist(), abs=1e-5, nan_ok=True)
    assert choose_model(new).name == "block:clinical"


@pytest.mark.parametrize("names", [["rna"], []])
def test_a_block_that_is_not_there_is_refused(names):
    with pytest.raises(
        BundleError, match=r"has no block .* Its blocks are \['clinical', 'visits', 'slide'\]"
    ):
        without_blocks(BUNDLE, names)


def test_all_blocks_cannot_leave():
    with pytest.raises(BundleError, match="no block is left"):
        without_blocks(BUNDLE, NAMES)


# ---- the report -----------------------------------------------------------------------------------


def test_the_change_is_that_of_the_scores_on_the_same_patients():
    [merge, ensemble, fuse] = change_in_report(BUNDLE, ["clinical", "slide"])

    complete = COHORT.holding(*NAMES)
    task = BUNDLE.agreement.task
    outcomes = torch.tensor([record.outcome.values for record in complete.records])
    after = task.score(
        task.predict(logits(BUNDLE.models.merged, complete.only("clinical", "slide"))), outcomes
    )
    before = task.score(task.predict(logits(BUNDLE.models.merged, complete)), outcomes)
    assert (merge.method, ensemble.method, fuse.method) == ("merge", "ensemble", "fuse")
    assert merge.before.count == len(complete) > 10
    assert merge.change == pytest.approx(after.value - before.value, abs=1e-6)
    assert fuse.after is None
    assert fuse.change is None


def test_a_single_block_that_stays_is_compared_as_a_block():
    changes = change_in_report(BUNDLE, ["slide"])

    assert [one.after.method for one in changes if one.after] == ["block", "block"]


def test_nothing_is_compared_where_trunks_were_merged():
    old = with_report(bundle_of(COHORT, more={"merging": {"trunk": {"kind": "linear"}}}, fused=False), COHORT)

    assert change_in_report(old, ["clinical", "slide"]) == []


def test_the_new_report_speaks_of_nothing_that_is_gone():
    report = without_blocks(BUNDLE, ["visits"]).report

    assert report.results is not None
    assert all("visits" not in one.modalities and one.method != "fuse" for one in report.results.scores)
    assert {one.modality for one in report.rounds} == {"clinical", "slide"}
    assert set(report.features) == set(report.parameters) == {"clinical", "slide"}
    assert all(one.gain is None for one in report.results.scores)  # the best block is gone
    assert report.results.best_block == ""
    assert report.recommendation is None
    assert "by leaving out 'visits'" in report.description
    assert RunReport.model_validate_json(report.model_dump_json()) == report


def test_gains_over_a_block_that_stays_stay():
    report = without_blocks(BUNDLE, ["slide"]).report

    assert report.results is not None
    assert report.results.best_block == "visits"
    assert any(one.gain is not None for one in report.results.scores)


def test_a_recommended_block_that_stays_is_recommended_still():
    advice = Recommendation(method="block", modality="slide", sentence="Recommended: the best block, slide.")
    old = replace(BUNDLE, report=BUNDLE.report.model_copy(update={"recommendation": advice}))

    new = without_blocks(old, ["visits"])

    assert choose_model(new).name == "block:slide"
    assert "Nobody has weighed the new merge" in new.report.recommendation.sentence


# ---- sites ----------------------------------------------------------------------------------------


def test_a_site_that_trained_a_block_alone_takes_it_along():
    rounds = tuple(one for one in BUNDLE.report.rounds if one.modality != "slide")
    old = replace(BUNDLE, report=BUNDLE.report.model_copy(update={"rounds": rounds}))

    assert blocks_of_site(old, "east") == ("visits",)


@pytest.mark.parametrize("site", ["north", "south", "east"])
def test_a_site_that_trained_with_others_cannot_be_taken_out_of_weights(site):
    with pytest.raises(BundleError, match="only a new run without the site does"):
        blocks_of_site(BUNDLE, site)


def test_a_site_that_trained_nothing_is_told_who_did():
    with pytest.raises(BundleError, match=r"The sites that did are \['east', 'north', 'south'\]"):
        blocks_of_site(BUNDLE, "west")


def test_a_site_that_only_fused_had_no_part_in_the_merge():
    fused = RoundSummary(phase="fuse", round=1, modality="fused", asked=("west",), answered=("west",))
    rounds = (*BUNDLE.report.rounds, fused)
    old = replace(BUNDLE, report=BUNDLE.report.model_copy(update={"rounds": rounds}))

    with pytest.raises(BundleError, match="trained no block, only the fused model"):
        blocks_of_site(old, "west")


def test_what_stays_of_a_site_is_said():
    said = " ".join(influence(BUNDLE, ["visits"]))

    assert "Gone with block 'visits': all that its training taught it at east." in said
    assert "Not gone: east also trained block 'slide'" in said
    assert "The fused model was trained with all blocks" in said
    assert "only a new run without it will do" in said


def test_seed_rounds_leave_their_trace_and_it_is_said():
    old = bundle_of(COHORT, more={"rounds": {"rounds": 3, "seed-rounds": 2}})

    assert any(
        "in 2 seed rounds the trunks of all blocks were aggregated" in one
        for one in influence(old, ["slide"])
    )


# ---- on own patients ------------------------------------------------------------------------------


def test_own_patients_are_those_that_the_site_kept_apart(tmp_path):
    folder = write_site(_in_parts(COHORT), tmp_path / "site")
    new = without_blocks(BUNDLE, ["visits"])

    own = change_on_own(BUNDLE, new, folder, resamples=50)

    test = _in_parts(COHORT).part("test")
    test = test.keep(r for r in test.records if {"clinical", "slide"} & r.modalities.keys())
    task = BUNDLE.agreement.task
    outcomes = torch.tensor([record.outcome.values for record in test.records])
    before = task.score(task.predict(logits(BUNDLE.models.merged, test)), outcomes).value
    after = task.score(
        task.predict(logits(new.models.merged, test.only("clinical", "slide"))), outcomes
    ).value
    assert own.gain.patients == len(test)
    assert (own.before, own.after) == pytest.approx((before, after), abs=1e-6)
    assert own.gain.value == pytest.approx(after - before, abs=1e-6)
    assert own.gain.low <= own.gain.value <= own.gain.high


def test_a_site_without_test_patients_is_refused(tmp_path):
    folder = write_site(COHORT.marked("train"), tmp_path / "site")

    with pytest.raises(DataError, match="no test patient with any of"):
        change_on_own(BUNDLE, without_blocks(BUNDLE, ["visits"]), folder)


# ---- the command ----------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    BUNDLE.save(tmp_path / "old", key=SigningKey.make())
    return tmp_path


def leave(folder: Path, *given: str, bundle: str = "old", output: str = "new") -> Result:
    return CliRunner().invoke(app, ["leave", str(folder / bundle), "--output", str(folder / output), *given])


def test_the_new_bundle_is_unsigned_and_names_the_old_one(saved):
    done = leave(saved, "--block", "visits")

    assert done.exit_code == 0, done.output
    old, new = ModelBundle.load(saved / "old"), ModelBundle.load(saved / "new")
    made_from = read_manifest(saved / "new").made_from
    assert made_from is not None
    assert (made_from.bundle_sha256, made_from.left_out) == (old.sha256, ("visits",))
    assert signers_of(saved / "new") == []
    assert signers_of(saved / "old") != []
    assert new.models.merged.modalities == ("clinical", "slide")
    assert "merge" in done.stdout
    assert "Nobody has signed it yet" in done.stdout


def test_blocks_may_leave_one_after_the_other(saved):
    leave(saved, "--block", "visits")

    done = leave(saved, "--block", "slide", bundle="new", output="last")

    assert done.exit_code == 0, done.output
    made_from = read_manifest(saved / "last").made_from
    assert made_from is not None
    assert made_from.left_out == ("visits", "slide")


def test_own_patients_are_told_with_an_interval(saved):
    write_site(_in_parts(COHORT), saved / "site")

    done = leave(saved, "--block", "visits", "--data", str(saved / "site"))

    assert done.exit_code == 0, done.output
    assert "95 % paired bootstrap" in done.stdout


@pytest.mark.parametrize("given", [[], ["--block", "visits", "--site", "east"]])
def test_a_block_or_a_site_is_named(saved, given):
    done = leave(saved, *given)

    assert done.exit_code == 2
    assert not (saved / "new").exists()


def test_a_folder_that_is_there_is_not_replaced(saved):
    done = leave(saved, "--block", "visits", output="old")

    assert done.exit_code == 2
    assert "'old' is there already" in done.output
    assert ModelBundle.load(saved / "old").models.merged.modalities == NAMES


def _in_parts(cohort: Cohort) -> Cohort:
    half = len(cohort) // 2
    parts = ["train"] * half + ["test"] * (len(cohort) - half)
    return cohort.keep(replace(one, part=part) for one, part in zip(cohort.records, parts, strict=True))


def _untrained_trunk(bundle: ModelBundle) -> dict[str, torch.Tensor]:
    from lego_core.assemble import build_block

    return build_block(bundle.plan, bundle.agreement, "clinical").trunk.state_dict()


def _merged_honestly(bundle: ModelBundle) -> ModelBundle:
    """The blocks of a bundle, with their trunks merged from the start that the plan's seed gives."""
    merge = bundle.models.merged
    again = LegoMerge(merge.blocks.values(), trunk=bundle.plan.merging.trunk, start=_untrained_trunk(bundle))
    merge.shared.load_state_dict(again.shared.state_dict())
    return bundle
