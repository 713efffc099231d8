"""Where a study's numbers come from, and what is kept of them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from study_runs import finished, prepare, run_here
from typer.testing import CliRunner

from lego_core.errors import DataError, PlanError, RunError
from simulations.benchmarks.protocol import Place, Protocol
from simulations.benchmarks.studies import STUDIES, AbstractStudy, Arm, Comparison, Lab, Measured, Steps
from simulations.benchmarks.studies._figures import curves
from simulations.benchmarks.studies._findings import summarise_study
from simulations.benchmarks.studies._run import find_study
from simulations.benchmarks.studies._work import StudyRun, run_step
from simulations.cli import app


class Numbers(AbstractStudy):
    """A study whose one step gives what it is told to give."""

    kind: Literal["numbers"] = "numbers"
    question: ClassVar[str] = "What is counted?"
    dataset: ClassVar[str] = "nobody"
    failing: str = ""

    def steps(self) -> Steps:
        return {step: partial(self.count, step=step) for step in ("first", "second")}

    def count(self, lab: Lab, *, step: str) -> Iterable[Measured]:
        if step == self.failing:
            raise DataError("Nothing can be measured here.")
        shift = 1.0 if step == "first" else 0.0
        yield Measured(Arm(step, "seconds"), 10 * lab.trial.place.fold + shift, unit="seconds")

    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        return [Comparison("the first", "the second", ((Arm("first", "seconds"), Arm("second", "seconds")),))]


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


def test_curves_take_their_conditions_from_panels() -> None:
    _, results = finished("overlap")

    figure = curves(results, along="x", panels={"a": {"0 %": "none"}, "b": {"100 %": "all"}})

    assert [axes.get_title("left") for axes in figure.axes] == ["a", "b"]
    assert [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()] == ["none", "all"]


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
