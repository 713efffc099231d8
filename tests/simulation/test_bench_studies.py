"""`bench study`: one question, a table, a figure, and a sentence that says no more than the numbers."""

import copy
import io
import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from tempfile import mkdtemp
from typing import ClassVar, Literal, cast

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from pydantic import TypeAdapter
from rich.console import Console
from torch import Tensor
from typer.testing import CliRunner

from lego_core.block import LegoBlock
from lego_core.errors import DataError, PlanError, RunError
from lego_core.evaluation import score
from lego_core.fuse import LegoFuse
from lego_core.merge import LegoMerge
from lego_core.records import Cohort
from lego_core.statistics import FeatureStatistics
from lego_core.tasks import Survival
from lego_core.training import Trainer
from simulations.benchmarks.protocol import Place, Protocol, in_even_order, unpaired
from simulations.benchmarks.results import Gain, Verdict
from simulations.benchmarks.studies import (
    STUDIES,
    AbstractStudy,
    Arm,
    Comparison,
    Lab,
    Measured,
    Study,
    Trained,
)
from simulations.benchmarks.studies._cost import WAYS, Point, Way, made_up, measure
from simulations.benchmarks.studies._federation import federated
from simulations.benchmarks.studies._figures import curves, rows
from simulations.benchmarks.studies._findings import summarise_study
from simulations.benchmarks.studies._results import Compared, StudyResults
from simulations.benchmarks.studies._run import find_study, prepare_study, publish
from simulations.benchmarks.studies._words import sentences
from simulations.benchmarks.studies._work import StudyRun, run_step
from simulations.benchmarks.studies.absent import subsets
from simulations.benchmarks.studies.domain import FREQUENCY, DomainStudy
from simulations.benchmarks.studies.growth import Growth, ratio_of_slopes
from simulations.benchmarks.studies.hospitals import Hospitals, sites
from simulations.benchmarks.studies.imbalance import FEWEST_PATIENTS, Imbalance, fewer
from simulations.benchmarks.studies.interference import RULES, latents, likeness, survival
from simulations.benchmarks.studies.later import joined_by, jointly
from simulations.benchmarks.studies.overlap import overlapping
from simulations.benchmarks.studies.paired import Paired, groups
from simulations.benchmarks.studies.start import COMMON, Start, own_starts, seed_phase
from simulations.benchmarks.subject import Source
from simulations.cli import app

DATASET = """
kind = "synthetic"
patients = 150
outcome = { kind = "survival" }
[modalities.one]
layout = "table"
features = 3
[modalities.two]
layout = "table"
features = 3
[modalities.three]
layout = "table"
features = 3
"""
ENCODER = 'kind = "tabular"\ntoken-dim = 8\nhidden-dims = [8]'
PLAN = f"""
name = "tiny"
task = {{ kind = "survival" }}
privacy = {{ kind = "no-privacy" }}
latent = {{ num-latents = 2, latent-dim = 8, num-heads = 2, depth = 2 }}
training = {{ epochs = 2, batch-size = 16 }}
rounds = {{ local-epochs = 1 }}
[modalities.one.encoder]
{ENCODER}
[modalities.two.encoder]
{ENCODER}
[modalities.three.encoder]
{ENCODER}
"""
README = Path(__file__).resolve().parents[2] / "simulations" / "benchmarks" / "README.md"
NAMES = ["one", "two", "three"]
PLACE = Place(1, 1)


@cache
def source() -> Source:
    folder = Path(mkdtemp(prefix="lego-studies-"))
    (folder / "small.toml").write_text(DATASET, encoding="utf-8")
    (folder / "tiny.toml").write_text(PLAN, encoding="utf-8")
    return Source(dataset=str(folder / "small.toml"), plan=str(folder / "tiny.toml"))


def prepare(study: AbstractStudy, folder: Path) -> StudyRun:
    return prepare_study(study, source(), folder, repeats=1, seed=0, quick=True)


def run_here(study: AbstractStudy, folder: Path) -> tuple[StudyRun, StudyResults]:
    run = prepare(study, folder)
    for job in run.jobs():
        run_step(run, job)
    return run, summarise_study(run)


@cache
def finished(name: str) -> tuple[StudyRun, StudyResults]:
    study = Growth(patients=8) if name == "growth" else STUDIES[name]
    return run_here(study, Path(mkdtemp(prefix="lego-study-")) / name)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    benchmark = prepare(STUDIES["overlap"], tmp_path).benchmark
    trial = benchmark.trial(PLACE)
    return Lab(benchmark.plan, trial, trial.agreed(benchmark.plan.task))


# The contract, for every study there is.


@pytest.mark.parametrize("name", list(STUDIES))
def test_a_study_is_a_document_of_its_settings(name: str) -> None:
    study = STUDIES[name]

    assert TypeAdapter(Study).validate_python(study.to_plain()) == study
    assert study.to_plain()["kind"] == name
    assert study.question.endswith("?")
    assert "\n" not in study.question
    assert len(study.how) > 100
    assert "Source:" not in study.how


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_arm_is_measured_once_in_every_trial(name: str) -> None:
    run, results = finished(name)

    assert results.notes == ()
    counted = Counter((m.repeat, m.fold, m.condition, m.method) for m in results.measurements)
    assert set(counted.values()) == {1}
    assert len(counted) == len(results.rows) * len(run.benchmark.protocol.places)
    assert {(row.condition, row.method) for row in results.rows} == {key[2:] for key in counted}


@pytest.mark.parametrize("name", list(STUDIES))
def test_predictions_speak_of_every_test_patient_and_give_the_values_of_the_table(name: str) -> None:
    run, results = finished(name)
    trial = run.benchmark.trial(PLACE)
    outcomes, task = trial.test.batch().outcomes, trial.agreed(Survival())
    tidy = {(m.condition, m.method): m.value for m in results.measurements if m.fold == 1}

    for step in run.study.steps(NAMES):
        for one in run.notebook.read(PLACE, step):
            if isinstance(one.what, Tensor):
                assert one.what.shape == (len(trial.test), 4)
                assert tidy[one.arm] == pytest.approx(task.score(one.what, outcomes).value)
            else:
                assert tidy[one.arm] == one.what


@pytest.mark.parametrize("name", list(STUDIES))
def test_every_comparison_is_judged_and_the_sentence_says_nothing_else(name: str) -> None:
    _, results = finished(name)

    assert results.comparisons
    for one in results.comparisons:
        assert one.gain is not None, one
        low, high = one.gain.ci95
        assert one.gain.verdict == ("above" if low > 0 else "below" if high < 0 else "no difference")
    assert results.sentence == sentences(results.comparisons)
    for verdict in ("above", "below", "no difference"):
        there = any(one.gain and one.gain.verdict == verdict for one in results.comparisons)
        assert (verdict in results.sentence.lower()) == there


@pytest.mark.parametrize("name", list(STUDIES))
def test_a_quick_look_is_part_of_the_whole_study(name: str) -> None:
    study = STUDIES[name]

    assert set(study.quick().steps(NAMES)) <= set(study.steps(NAMES))


@pytest.mark.parametrize("name", list(STUDIES))
def test_results_table_and_figure_are_written(name: str) -> None:
    run, results = finished(name)
    console = Console(record=True, width=200, file=io.StringIO())

    publish(run, results, console=console)

    folder = run.benchmark.folder
    assert StudyResults.model_validate(json.loads((folder / "results.json").read_text())) == results
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert f"**{results.sentence}**" in table
    assert "Do not quote it" in table
    assert all(f"| {row.condition} | {row.method} |" in table for row in results.rows)
    assert ET.parse(folder / "figure.svg").getroot().tag.endswith("svg")
    assert results.sentence in console.export_text()


@pytest.mark.parametrize("name", list(STUDIES))
def test_the_readme_lists_the_study(name: str) -> None:
    study = STUDIES[name]

    assert f"| `{name}` | {study.question} | `{study.dataset}` |" in README.read_text(encoding="utf-8")


# What a sentence may say.


def compared(verdict: Verdict | None, *, where: str = "", what: str = "the merge") -> Compared:
    bounds = {"above": (0.001, 0.03), "below": (-0.03, -0.001), "no difference": (-0.01, 0.02)}
    gain = verdict and Gain(mean=sum(bounds[verdict]) / 2, ci95=bounds[verdict], verdict=verdict)
    return Compared(what=what, than="the ensemble", where=where, gain=gain or None)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("above", "The merge is above the ensemble (+0.015, +0.001 to +0.030)."),
        ("below", "The merge is below the ensemble (-0.015, -0.030 to -0.001)."),
        ("no difference", "No difference between the merge and the ensemble (+0.005, -0.010 to +0.020)."),
        (None, "The merge against the ensemble could not be judged."),
    ],
)
def test_one_comparison_is_one_sentence(verdict: Verdict | None, said: str) -> None:
    assert sentences([compared(verdict)]) == said


def test_the_same_question_under_several_conditions_is_one_sentence() -> None:
    asked: list[Verdict | None] = ["no difference", "above", "no difference", None]

    said = sentences([compared(verdict, where=f"at {index}") for index, verdict in enumerate(asked)])

    assert said == (
        "The merge against the ensemble: above at 1 (+0.015, +0.001 to +0.030); no difference at 0 (+0.005, "
        "-0.010 to +0.020) and at 2 (+0.005, -0.010 to +0.020); not judged at 3."
    )


def test_different_questions_are_different_sentences() -> None:
    said = sentences([compared("above"), compared("below", what="the mean")])

    assert said == (
        "The merge is above the ensemble (+0.015, +0.001 to +0.030). The mean is below the ensemble (-0.015, "
        "-0.030 to -0.001)."
    )


def test_nothing_measured_is_said_so() -> None:
    assert sentences([]) == "Nothing could be compared."


# Where numbers come from.


class Numbers(AbstractStudy):
    """A study whose one step gives what it is told to give."""

    kind: Literal["numbers"] = "numbers"
    question: ClassVar[str] = "What is counted?"
    dataset: ClassVar[str] = "nobody"
    failing: str = ""

    def steps(self, modalities: Sequence[str]) -> tuple[str, ...]:
        return ("first", "second")

    def measure(self, lab: Lab, step: str) -> Iterable[Measured]:
        if step == self.failing:
            raise DataError("Nothing can be measured here.")
        shift = 1.0 if step == "first" else 0.0
        yield Measured(Arm(step, "seconds"), 10 * lab.trial.place.fold + shift, unit="seconds")

    def comparisons(self, arms: Sequence[Arm]) -> list[Comparison]:
        return [Comparison("the first", "the second", ((Arm("first", "seconds"), Arm("second", "seconds")),))]

    def figure(self, results: StudyResults) -> Figure:
        return rows(results)


def in_three_folds(study: AbstractStudy, folder: Path) -> StudyRun:
    run = prepare(study, folder)
    protocol = run.benchmark.protocol.model_copy(update={"trials_per_repeat": 3})
    return replace(run, benchmark=replace(run.benchmark, protocol=protocol))


def test_numbers_are_averaged_over_trials_and_their_differences_are_paired(tmp_path: Path) -> None:
    run = in_three_folds(Numbers(), tmp_path)
    for job in run.jobs():
        run_step(run, job)

    results = summarise_study(run)

    row = results.row("first", "seconds")
    assert row is not None
    assert (row.mean, row.unit, row.trials) == (21.0, "seconds", 3)
    assert row.ci95 is not None
    assert 11 <= row.ci95[0] < 21 < row.ci95[1] <= 31
    gain = results.comparisons[0].gain
    assert gain is not None
    assert (gain.mean, gain.ci95, gain.verdict) == (1.0, (1.0, 1.0), "above")  # as in each of the trials


def test_of_two_trials_numbers_have_no_interval_and_are_not_judged(tmp_path: Path) -> None:
    _, results = run_here(Numbers(), tmp_path)

    assert [row.ci95 for row in results.rows] == [None, None]
    assert results.sentence == "The first against the second could not be judged."


def test_a_step_that_fails_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    run, results = run_here(Numbers(failing="second"), tmp_path)

    assert results.row("second", "seconds") is None
    assert results.notes == tuple(
        f"'second' failed in {place}: Nothing can be measured here."
        for place in run.benchmark.protocol.places
    )
    assert results.comparisons[0].gain is None
    assert run.jobs() == []


def test_of_several_pairs_the_mean_difference_is_judged() -> None:
    _, results = finished("absent")
    pairs = {one.where: one.gain for one in results.comparisons if one.than == "the ensemble"}
    both = [
        (row.mean or 0) - (other.mean or 0)
        for condition in ("one + two", "one + three", "two + three")
        if (row := results.row(condition, "merge")) and (other := results.row(condition, "ensemble"))
    ]

    gain = pairs["with 2 of 3 modalities"]
    assert gain is not None
    assert len(both) == 3
    assert gain.mean == pytest.approx(np.mean(both))


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    first = prepare(STUDIES["overlap"], tmp_path)
    done, *others = first.jobs()
    run_step(first, done)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "trials").rglob("*.*")}

    again = prepare(STUDIES["overlap"], tmp_path)
    assert again.jobs() == others
    for job in again.jobs():
        run_step(again, job)

    assert len(kept) == 2
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert summarise_study(again).rows == finished("overlap")[1].rows


def test_a_folder_belongs_to_one_study(tmp_path: Path) -> None:
    prepare(STUDIES["overlap"], tmp_path)

    with pytest.raises(RunError, match=r"other settings: \['study'\] differ"):
        prepare(STUDIES["absent"], tmp_path)


def test_an_unknown_study_is_answered_with_the_list() -> None:
    with pytest.raises(PlanError, match=r"no study 'overlaps'.*overlap .Must blocks be trained"):
        find_study("overlaps")


def test_the_command_says_what_is_wrong_and_ends_with_2(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["bench", "study", "overlaps", "--output", str(tmp_path)])

    assert answer.exit_code == 2
    assert "The studies are: domain" in answer.output


@pytest.mark.parametrize("name", ["absent", "imbalance", "interference", "later", "paired"])
def test_questions_about_several_modalities_need_several(name: str) -> None:
    with pytest.raises(PlanError, match=r"one modality, .'one'."):
        STUDIES[name].steps(["one"])


def test_curves_take_their_conditions_from_panels() -> None:
    _, results = finished("overlap")

    figure = curves(results, along="x", panels={"a": {"0 %": "none"}, "b": {"100 %": "all"}})

    assert [axes.get_title("left") for axes in figure.axes] == ["a", "b"]
    assert [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()] == ["none", "all"]


# What the single studies do.


def test_domains_differ_in_the_latent_contract_alone() -> None:
    run, results = finished("domain")
    said = {one.arm: one.what for step in run.study.steps(NAMES) for one in run.notebook.read(PLACE, step)}

    assert len({arm.condition for arm in said}) == 3
    in_frequency, dropped, signal = (
        cast(Tensor, said[Arm(condition, "ensemble")])
        for condition in dict.fromkeys(a.condition for a in said)
    )
    assert not torch.allclose(in_frequency, dropped)
    assert not torch.allclose(in_frequency, signal)
    assert results.conditions[0] == FREQUENCY


def test_the_plans_own_domain_does_not_change_the_study(lab: Lab) -> None:
    elsewhere = lab.with_latent(lab.plan.latent.model_copy(update={"domain": "signal", "phase": "dropped"}))

    ours, theirs = (list(DomainStudy().measure(one, FREQUENCY)) for one in (lab, elsewhere))

    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(cast(Tensor, one.what), cast(Tensor, other.what))


def test_a_seed_phase_leaves_equal_trunks_and_none_leaves_the_common_start(lab: Lab) -> None:
    start = lab.untrained("one").trunk.state_dict()
    without, after = seed_phase(lab, 0), seed_phase(lab, 2)

    for name, tensor in start.items():
        assert all(torch.equal(block.trunk.state_dict()[name], tensor) for block in without)
        moved = [block.trunk.state_dict()[name] for block in after]
        assert all(torch.equal(one, moved[0]) for one in moved)
    assert not torch.equal(after[0].trunk.latent, start["latent"])


def test_one_seed_round_moves_the_trunk_by_the_mean_weighted_by_patients(lab: Lab) -> None:
    start = lab.untrained("one").trunk.state_dict()
    alone: list[tuple[Tensor, int]] = []
    for modality in NAMES:
        only = replace(
            lab, plan=lab.plan.model_copy(update={"modalities": {modality: lab.plan.modalities[modality]}})
        )
        patients = lab.dealt(lab.trial.train, modality)
        lonely = replace(only, trial=replace(only.trial, train=patients))
        alone.append((seed_phase(lonely, 1)[0].trunk.latent, len(patients)))

    expected = sum(latent * size for latent, size in alone) / sum(size for _, size in alone)

    assert torch.allclose(seed_phase(lab, 1)[0].trunk.latent, cast(Tensor, expected), atol=1e-6)
    assert not torch.allclose(start["latent"], cast(Tensor, expected), atol=1e-6)


def test_own_starts_are_apart_in_the_trunk_alone(lab: Lab) -> None:
    own, common = own_starts(lab), [lab.untrained(modality) for modality in lab.modalities]

    latents = [block.trunk.latent for block in (*own, common[0])]
    assert not any(torch.equal(one, other) for one, other in combinations(latents, 2))
    for block, counterpart in zip(own, common, strict=True):
        for name, tensor in counterpart.encoder.state_dict().items():
            assert torch.equal(block.encoder.state_dict()[name], tensor)


def test_rounds_of_the_seed_phase_are_taken_from_the_epochs(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    train = Lab.train

    def watched(self: Lab, modality: str, *, block: LegoBlock, epochs: int) -> Trained:
        asked.append(epochs)
        return train(self, modality, block=block, epochs=epochs)

    monkeypatch.setattr(Lab, "train", watched)
    for step in ("own start", COMMON, "1 seed round"):
        list(Start().measure(lab, step))

    assert asked == [2] * 6 + [1] * 3  # of the plan's 2 epochs, with 1 local epoch per round


def test_an_overlap_keeps_numbers_and_shares_what_it_says(lab: Lab) -> None:
    before: set[str] = set()
    for share in (0.0, 0.25, 0.5, 1.0):
        ids = {name: [r.patient_id for r in own.records] for name, own in overlapping(lab, share).items()}
        sizes = {len(own) for own in ids.values()}
        common = set.intersection(*(set(own) for own in ids.values()))

        (each,) = sizes
        assert each == len(lab.trial.train) // 3
        assert all(len(set(own)) == each for own in ids.values())
        assert len(common) == round(share * each)
        assert len(set().union(*ids.values())) == len(common) + 3 * (each - len(common))
        assert before <= common
        before = common


def test_an_overlap_is_of_training_patients_only(lab: Lab) -> None:
    train = {record.patient_id for record in lab.trial.train.records}

    assert all({r.patient_id for r in own.records} <= train for own in overlapping(lab, 0.5).values())


def test_every_beginning_of_an_even_order_has_the_strata_in_proportion(lab: Lab) -> None:
    cohort = lab.trial.train
    ordered = in_even_order(cohort, task=lab.task, seed=1)
    strata = lab.task.strata(ordered.batch().outcomes).numpy()

    assert sorted(r.patient_id for r in ordered.records) == sorted(r.patient_id for r in cohort.records)
    for stop in (10, 25, 60):
        for stratum in np.unique(strata):
            expected = stop * (strata == stratum).mean()
            assert abs((strata[:stop] == stratum).sum() - expected) <= 1.5


def test_all_subsets_are_shown_and_one_modality_is_its_block() -> None:
    _, results = finished("absent")

    assert subsets("ab") == [("a",), ("b",), ("a", "b")]
    assert len(results.conditions) == 7
    for name in NAMES:
        means = {row.mean for row in results.rows if row.condition == name}
        assert len({round(mean, 6) for mean in means if mean is not None}) == 1


def test_what_is_not_shown_is_not_seen(lab: Lab) -> None:
    team = [lab.train(modality) for modality in lab.modalities]
    merge = lab.merged(team)

    shown = lab.said(merge, shown=["two", "one"])

    two = LegoMerge([one.block for one in team if one.modality != "three"])
    assert torch.allclose(shown, lab.said(two), atol=1e-6)
    assert not torch.allclose(shown, lab.said(merge))


def test_of_patients_without_the_modality_nothing_is_said(lab: Lab) -> None:
    test = lab.trial.test
    some = test.keep(
        replace(record, modalities={"one": record.modalities["one"]}) if index % 2 else record
        for index, record in enumerate(test.records)
    )
    lab = replace(lab, trial=replace(lab.trial, test=some))
    trained = [lab.train("one"), lab.train("two")]

    said, together = lab.said(trained[1].block), lab.ensemble(trained)

    lacking = torch.arange(len(test)) % 2 == 1
    assert torch.equal(said.isnan().all(dim=1), lacking)
    assert torch.equal(together[lacking], lab.said(trained[0].block)[lacking])
    assert not together.isnan().any()


def test_the_best_block_is_best_on_validation(lab: Lab) -> None:
    team = [lab.train(modality) for modality in lab.modalities]
    values = [score(one.block, lab.trial.validation, task=lab.task).value for one in team]

    assert lab.best_of(team) is team[int(np.argmax(values))]


def test_a_scarce_modality_keeps_its_part_and_smaller_groups_are_inside_larger_ones(lab: Lab) -> None:
    own = lab.dealt(lab.trial.train, "one")
    half, fifth = (fewer(own, ratio, lab=lab) for ratio in (2, 5))

    assert (len(half), len(fifth)) == (round(len(own) / 2), round(len(own) / 5))
    ids = [{r.patient_id for r in part.records} for part in (fifth, half, own)]
    assert ids[0] < ids[1] < ids[2]


def test_ratios_that_leave_too_few_patients_are_left_out(lab: Lab) -> None:
    study = Imbalance(ratios=(1, 2, 50))
    left = len(lab.dealt(lab.trial.train, "one"))

    arms = [one.arm for one in study.measure(lab, "every ratio")]

    assert left / 2 >= FEWEST_PATIENTS > left / 50
    assert {arm.condition for arm in arms} == {f"{name} 1:{ratio}" for name in NAMES for ratio in (1, 2)}
    assert {one.where for one in study.comparisons(arms)} == {"at 1:1", "at 1:2"}


def test_groups_of_paired_patients_are_inside_one_another_and_end_with_everybody(lab: Lab) -> None:
    found = groups(lab, (0, 10, 25, 10_000))

    ids = [{r.patient_id for r in group.records} for group in found.values()]
    assert list(found) == ["0", "10", "25", "all"]
    assert [len(own) for own in ids] == [0, 10, 25, len(lab.trial.train)]
    assert ids[0] < ids[1] < ids[2] < ids[3]
    assert ids[3] <= {r.patient_id for r in lab.trial.train.records}


def test_only_patients_with_several_modalities_are_paired(lab: Lab) -> None:
    train = lab.trial.train
    alone = unpaired(train, task=lab.task, seed=0).records
    lab = replace(lab, trial=replace(lab.trial, train=train.keep((*train.records[:12], *alone[12:]))))

    assert {name: len(group) for name, group in groups(lab, (0, 10, 25)).items()} == {
        "0": 0,
        "10": 10,
        "all": 12,
    }


def test_without_paired_patients_fuse_is_untrained_and_nothing_is_trained_end_to_end(lab: Lab) -> None:
    said = {one.arm: one.what for one in Paired(numbers=(0,)).measure(lab, "every number")}
    team = [lab.train(modality) for modality in lab.modalities]
    untrained = LegoFuse([one.block for one in team], order="weave")

    assert Arm("0", "late-concat") not in said
    assert Arm("all", "late-concat") in said
    assert torch.equal(cast(Tensor, said[Arm("0", "fuse, weave")]), lab.said(untrained))
    assert not torch.equal(cast(Tensor, said[Arm("all", "fuse, weave")]), lab.said(untrained))


def test_at_depth_one_both_orders_of_fuse_are_one(lab: Lab) -> None:
    shallow = lab.with_latent(lab.plan.latent.model_copy(update={"depth": 1}))

    methods = {one.arm.method for one in Paired(numbers=(0,)).measure(shallow, "every number")}

    assert methods == {"merge", "fuse, stack", "late-concat"}


@pytest.mark.parametrize("newcomer", NAMES)
def test_who_comes_later_changes_no_weight_of_the_others(lab: Lab, newcomer: str) -> None:
    team = [lab.train(modality) for modality in lab.modalities if modality != newcomer]
    before = {one.modality: copy.deepcopy(one.block.state_dict()) for one in team}

    joined = joined_by(lab, team, newcomer)
    merge = lab.merged(joined)
    lab.said(merge)

    assert [one.modality for one in joined] == NAMES
    for modality, state in before.items():
        after = merge.blocks[modality].state_dict()
        assert state.keys() == after.keys()
        assert all(torch.equal(tensor, after[name]) for name, tensor in state.items())


def test_it_does_not_matter_in_which_order_modalities_came() -> None:
    run, results = finished("later")
    lab = Lab(run.benchmark.plan, trial := run.benchmark.trial(PLACE), trial.agreed(run.benchmark.plan.task))
    team = [lab.train("three"), lab.train("one")]
    said = {one.arm: one.what for one in run.notebook.read(PLACE, "one by one")}

    assert torch.equal(cast(Tensor, said[Arm("without two", "merge")]), lab.said(lab.merged(team[::-1])))
    everybody = lab.said(lab.merged(joined_by(lab, team, "two")))
    assert torch.equal(cast(Tensor, said[Arm("all modalities", "merge")]), everybody)
    assert results.conditions == ["without one", "without two", "without three", "all modalities"]


def test_training_jointly_begins_with_the_common_start_and_the_patients_own_normalisation(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[LegoFuse] = []

    def untrained(fused: LegoFuse, train: Cohort, validation: Cohort, **_: object) -> LegoFuse:
        assert (len(train), len(validation)) == (len(lab.trial.train), len(lab.trial.validation))
        shown.append(fused)
        return fused

    monkeypatch.setattr("simulations.benchmarks.studies.later.fit_fused", untrained)
    fused = jointly(lab)

    assert shown == [fused]
    for modality, block in fused.blocks.items():
        start = lab.untrained(modality)
        values = lab.trial.train.batch().inputs[modality].values[:, 0]
        assert torch.allclose(block.feature_mean, values.mean(dim=0), atol=1e-5)
        assert torch.equal(block.trunk.latent, start.trunk.latent)


def ids_of(cohort: Cohort) -> set[str]:
    return {record.patient_id for record in cohort.records}


def at_hospitals(cohort: Cohort, sizes: Sequence[int]) -> Cohort:
    names = [f"h{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return cohort.keep(replace(r, hospital=name) for r, name in zip(cohort.records, names, strict=False))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([3, 12, 4, 20, 5, 2], [20, 12, 14]),  # 5 + 4 + 3, and the 2 that are left over join them
        ([12, 4], [16]),
        ([4, 3], [7]),
        ([10, 10], [10, 10]),
    ],
)
def test_sites_are_whole_hospitals_and_every_patient_is_at_one(
    lab: Lab, sizes: list[int], expected: list[int]
) -> None:
    cohort = at_hospitals(lab.trial.train, sizes)

    dealt = sites(cohort, smallest=10)

    assert [len(site) for site in dealt] == expected
    assert sum(len(site) for site in dealt) == len(set().union(*map(ids_of, dealt))) == len(cohort)
    homes = [{record.hospital for record in site.records} for site in dealt]
    assert not any(one & other for one, other in combinations(homes, 2))


def test_patients_without_a_hospital_cannot_be_dealt_to_hospitals(lab: Lab) -> None:
    first, *others = lab.trial.train.records
    nowhere = lab.trial.train.keep([replace(first, hospital=None), *others])

    with pytest.raises(DataError, match=r"1 of \d+ patients have no hospital"):
        sites(nowhere, smallest=10)


def unjudged(lab: Lab) -> Lab:
    """The same trial without validation patients, so that the last round is kept."""
    return replace(lab, trial=replace(lab.trial, validation=lab.trial.validation.keep(())))


def test_a_federation_of_one_site_trains_as_this_site_does(lab: Lab) -> None:
    lab = unjudged(lab)
    train = lab.trial.train.only("one").marked("train")
    own = lab.untrained("one")
    own.normalise_with(FeatureStatistics.of(train, "one").normalisation())
    settings = lab.plan.training.model_copy(update={"epochs": 1})
    Trainer(own, task=lab.task, settings=settings).fit(train, seed=lab.trial.seed + 1)

    together = federated(lab, "one", [lab.trial.train], rounds=1).block

    for name, tensor in own.state_dict().items():
        assert torch.allclose(together.state_dict()[name], tensor, atol=1e-6)


def test_a_round_moves_the_block_by_the_mean_weighted_by_patients(lab: Lab) -> None:
    lab = unjudged(lab)
    train = lab.trial.train
    few, many = train.keep(train.records[:20]), train.keep(train.records[20:])
    statistics = FeatureStatistics.of(train, "two").normalisation()
    latents = []
    for site in (few, many):
        block = lab.untrained("two")
        block.normalise_with(statistics)
        settings = lab.plan.training.model_copy(update={"epochs": 1})
        Trainer(block, task=lab.task, settings=settings).fit(
            site.only("two").marked("train"), seed=lab.trial.seed + 1
        )
        latents.append(block.trunk.latent.detach() * len(site) / len(train))

    together = federated(lab, "two", [few, many], rounds=1)

    assert torch.allclose(together.block.feature_mean, statistics.mean, atol=1e-5)
    assert torch.allclose(together.block.trunk.latent, latents[0] + latents[1], atol=1e-5)
    assert ids_of(together.patients) == ids_of(train)


def test_a_federation_keeps_its_best_round(lab: Lab) -> None:
    validation = lab.trial.validation.only("one").batch()
    dealt = sites(lab.trial.train, smallest=10)
    reached = []
    for rounds in (1, 2, 3, 4, 5):
        block = federated(lab, "one", dealt, rounds=rounds).block
        with torch.no_grad():
            reached.append(float(lab.task.loss(block(validation.inputs["one"]), validation.outcomes)))

    assert reached == sorted(reached, reverse=True)
    assert reached[-1] < reached[0]


def test_a_hospital_alone_trains_and_stops_by_its_own_patients_and_is_tested_on_all(lab: Lab) -> None:
    asked: list[tuple[str, Cohort, Cohort, int]] = []
    train = Lab.train

    def watched(self: Lab, modality: str, *, patients: Cohort, validation: Cohort) -> Trained:
        asked.append((modality, patients, validation, len(self.trial.test)))
        return train(self, modality, patients=patients, validation=validation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lab, "train", watched)
        arms = [one.arm for one in Hospitals(at_most=1).measure(lab, "alone")]

    (hospital,) = {record.hospital for _, own, _, _ in asked for record in own.records}
    for _, own, validation, tested in asked:
        assert ids_of(own) == {r.patient_id for r in lab.trial.train.records if r.hospital == hospital}
        assert ids_of(validation) == {
            r.patient_id for r in lab.trial.validation.records if r.hospital == hospital
        }
        assert tested == len(lab.trial.test)
    assert {arm.method for arm in arms} == {f"alone: {hospital}"}
    assert [modality for modality, *_ in asked] == NAMES


@pytest.mark.parametrize(
    ("ci95", "said"),
    [
        ((-0.004, 0.006), "within 0.01"),
        ((-0.004, 0.016), "not shown to be within 0.01"),
        ((-0.012, -0.002), "not shown to be within 0.01"),
        ((-0.009, -0.001), "within 0.01"),
    ],
)
def test_a_sentence_says_whether_a_difference_is_within_a_margin(
    ci95: tuple[float, float], said: str
) -> None:
    verdict: Verdict = "below" if ci95[1] < 0 else "no difference"
    gain = Gain(mean=sum(ci95) / 2, ci95=ci95, verdict=verdict)
    for where in ("", "for all"):
        one = Compared(what="this", than="that", where=where, gain=gain, margin=0.01)
        assert f", {said})" in sentences([one])
    assert "within" not in sentences([Compared(what="this", than="that", gain=gain)])


@pytest.mark.parametrize(
    ("power", "expected"), [(0, None), (1, 1.0), (2, 13 / 5)], ids=["constant", "linear", "quadratic"]
)
def test_the_ratio_of_slopes_tells_linear_growth_from_others(power: int, expected: float | None) -> None:
    grown = {number: 7.0 + 2.0 * number**power for number in range(1, 9)}

    found = ratio_of_slopes(dict(reversed(grown.items())))

    assert found == (expected and pytest.approx(expected))


def test_an_odd_number_in_the_middle_belongs_to_both_slopes() -> None:
    assert ratio_of_slopes({1: 0.0, 2: 1.0, 3: 2.0, 4: 5.0, 5: 8.0}) == pytest.approx(3.0)


def point(lab: Lab, way: Way, modalities: int) -> Point:
    (outcome, *_) = [record.outcome for record in lab.trial.train.records]
    plan = lab.plan.model_copy(update={"modalities": {"one": lab.plan.modalities["one"]}})
    return Point(way, modalities, plan, lab.trial.train.schemas["one"], 1, (outcome,) * 6, lab.task)


def test_all_modalities_of_made_up_patients_have_the_size_of_one_but_not_its_values(lab: Lab) -> None:
    cohort = made_up(point(lab, "merge", 4))

    assert len(cohort) == 6
    assert cohort.modalities == ("modality-1", "modality-2", "modality-3", "modality-4")
    assert all(schema == lab.trial.train.schemas["one"] for schema in cohort.schemas.values())
    values = torch.stack([own.values for own in cohort.records[0].modalities.values()])
    assert values.shape == (4, 1, 3)
    assert len(values.unique()) == values.numel()


@pytest.mark.parametrize("way", WAYS)
def test_what_a_model_costs_is_measured_of_the_model(lab: Lab, way: Way) -> None:
    costs = [measure(point(lab, way, number)) for number in (1, 2, 3)]

    first, second, third = (cost.parameters for cost in costs)
    assert third - second == second - first > 0
    block = sum(weight.numel() for weight in lab.untrained("one").parameters())
    if way == "merge":
        assert (first, second) == (block, 2 * block)
    assert all(cost.predict_time > 0 and cost.epoch_time > 0 and cost.memory >= 0 for cost in costs)


def test_the_sites_of_a_merge_hold_one_modality_each_and_those_of_fuse_all(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[str, ...]] = []

    def watched(self: Trainer, train: Cohort, *, seed: int) -> None:
        held.append(train.modalities)

    monkeypatch.setattr(Trainer, "fit", watched)
    for way in ("merge", "fuse"):
        held.clear()
        measure(point(lab, way, 2))
        expected = {("modality-1",), ("modality-2",)} if way == "merge" else {("modality-1", "modality-2")}
        assert set(held[1:]) == expected  # the first is the warm-up
        assert len(held[1:]) == 3 * len(expected)


@pytest.mark.parametrize(
    ("protocol", "places"),
    [
        (Protocol(repeats=1, folds=1, trials_per_repeat=1), [(1, 1), (2, 1), (3, 1)]),
        (Protocol(repeats=1, folds=5, trials_per_repeat=2), [(1, 1), (1, 2), (1, 3)]),
        (Protocol(repeats=4, folds=1, trials_per_repeat=1), [(1, 1), (2, 1), (3, 1), (4, 1)]),
        (Protocol(repeats=1, folds=2, trials_per_repeat=1), [(1, 1), (1, 2), (2, 1), (2, 2)]),
    ],
)
def test_a_protocol_gives_as_many_trials_as_are_needed(
    protocol: Protocol, places: list[tuple[int, int]]
) -> None:
    assert protocol.with_at_least(3).places == [Place(*place) for place in places]
    assert protocol.with_at_least(1) == protocol


def merged_by(rule: str, parts: Tensor) -> Tensor:
    return RULES[rule].combine(parts, torch.full(parts.shape[:2], 1 / len(parts)))


@pytest.mark.parametrize("rule", list(RULES))
def test_of_equal_latents_everything_survives(rule: str) -> None:
    latent = torch.randn(5, 2, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    parts = torch.stack([latent, latent, latent])

    found = survival(merged_by(rule, parts), parts)

    assert found == {
        "cosine": pytest.approx(1, abs=1e-5),
        "correlation": pytest.approx(1, abs=1e-5),
        "length kept": pytest.approx(1, abs=1e-5),
        "cancelled": 0.0,
    }


@pytest.mark.parametrize("rule", ["mean", "harmonic"])
def test_opposite_latents_cancel(rule: str) -> None:
    latent = torch.randn(5, 2, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    parts = torch.stack([latent, -latent])

    assert survival(merged_by(rule, parts), parts) == {
        "cosine": 0.0,
        "correlation": 0.0,
        "length kept": 0.0,
        "cancelled": 1.0,
    }


@pytest.mark.parametrize("count", [2, 4])
def test_a_mean_of_unrelated_latents_keeps_one_over_the_root_of_their_number(count: int) -> None:
    parts = torch.zeros(count, 6, 1, count, dtype=torch.complex64)
    for block in range(count):  # each has an element of its own
        parts[block, :, 0, block] = torch.tensor([1.0, -1.0] * 3)

    found = survival(merged_by("mean", parts), parts)
    lost = survival(merged_by("harmonic", parts), parts)

    for quantity in ("cosine", "correlation", "length kept"):
        assert found[quantity] == pytest.approx(count**-0.5)
    assert lost["length kept"] == 0  # a block that says nothing leaves nothing of the others


def test_of_two_magnitudes_in_one_direction_the_harmonic_mean_keeps_less() -> None:
    parts = torch.tensor([1.0, 3.0], dtype=torch.complex64)[:, None, None, None].expand(2, 4, 1, 2)

    kept = [survival(merged_by(rule, parts), parts)["length kept"] for rule in ("mean", "harmonic")]

    assert kept == [pytest.approx(1), pytest.approx(1.5 / 2)]


def test_likeness_is_the_cosine_of_each_patient_and_the_correlation_over_all() -> None:
    chance = np.random.default_rng(0)
    one, other = (chance.normal(size=(1, 7, 2, 3)) + 5 for _ in range(2))
    rows = [(a.ravel(), b.ravel()) for a, b in zip(one[0], other[0], strict=True)]
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in rows]
    apart = [latent[0] - latent[0].mean(axis=0) for latent in (one, other)]

    found = likeness(*(torch.from_numpy(latent).to(torch.complex64) for latent in (one, other)))

    assert found["cosine"] == pytest.approx(np.mean(cosines), abs=1e-5)
    expected = np.corrcoef(apart[0].ravel(), apart[1].ravel())[0, 1]
    assert found["correlation"] == pytest.approx(expected, abs=1e-5)
    assert found["cosine"] > 0.9 > abs(found["correlation"])  # what all patients share is no signal


def test_what_all_pairs_have_in_common_is_what_blocks_have_in_common() -> None:
    _, results = finished("interference")

    by_pairs = results.row("2", "block to block, before the merge: cosine")
    by_all = results.row("3", "block to block, before the merge: cosine")
    assert by_pairs is not None
    assert by_all is not None
    assert by_pairs.mean == pytest.approx(by_all.mean)
    assert results.row("2", "block to block, before the merge: length kept") is None


def test_latents_need_patients_who_hold_everything(lab: Lab) -> None:
    alone = unpaired(lab.trial.test, task=lab.task, seed=0)
    nobody = replace(lab, trial=replace(lab.trial, test=alone))

    with pytest.raises(DataError, match=r"0 of \d+ test patients hold all of"):
        latents(nobody, [lab.train(modality) for modality in NAMES])
