"""What is seen of a run from its diary alone is what its report says, and nothing that was withheld."""

import json
from datetime import UTC, datetime

import pytest
from faults import at_sites, silent
from rehearsal import Rehearsal, Run
from tiny_plans import CLINIC, clinics_only, tiny_plan, with_survival

from deploy.seeing import RunReader, RunState
from deploy.seeing.view import view_of
from lego_core.protocol import AskBlockUpdate

SHORT_WAIT = "\n[participation]\nround-seconds = 0.5\n"
NOISE = """
[privacy]
kind = "patient-dp"
epsilon = 100.0
noise-multiplier = 1.0
batch-size = 8
steps = 3
[training]
keep = "last"
"""
SUMMED = "\n[privacy]\nkind = 'secure-sum'\n"
FEW = "\n[evaluation]\nsmallest-count = 1000\n"


def seen(ended: Rehearsal) -> RunState:
    return RunReader(ended.output).look()


@pytest.fixture(scope="module")
def absent(run: Run) -> Rehearsal:
    fault = at_sites({AskBlockUpdate: {CLINIC: silent}})
    return run(with_survival(tiny_plan(SHORT_WAIT)), fault)


@pytest.fixture(scope="module")
def noised(run: Run) -> Rehearsal:
    return run(with_survival(clinics_only(NOISE, hospitals=3, patients=180)))


def test_curves_are_those_of_the_report(absent: Rehearsal) -> None:
    state, report = seen(absent), absent.report

    points = {
        (one.modality, one.round, one.site): (one.train_loss, one.validation_loss) for one in report.learning
    }
    assert points == {
        (name, one.round, one.site): (one.train_loss, one.validation_loss)
        for name, block in state.blocks.items()
        for one in block.points
    }
    assert {(one.modality, one.round): one.validation_loss for one in report.rounds} == {
        (name, one.round): one.validation_loss for name, block in state.blocks.items() for one in block.curve
    }
    assert {name: block.best_round for name, block in state.blocks.items()} == report.kept_rounds


def test_sites_are_those_of_the_report_and_who_was_missing_is_told(absent: Rehearsal) -> None:
    state, report = seen(absent), absent.report

    assert {one.site: one.patients for one in report.sites} == {
        name: site.patients for name, site in state.sites.items()
    }
    told = [
        (site.site, one.phase, one.round, one.modality, one.reason)
        for site in state.sites.values()
        for one in site.absences
    ]
    assert sorted(told) == sorted(
        (one.site, one.phase, one.round, one.modality, one.reason) for one in report.left_out
    )
    assert told
    assert {"clinic-1"} == {site for site, *_ in told}
    assert state.waiting == ()
    assert state.faults == ()


def test_somebody_was_waited_for_while_the_wait_went_on(absent: Rehearsal) -> None:
    lines = (absent.output / "run.jsonl").read_bytes().splitlines(keepends=True)
    beginnings = [b"".join(lines[:count]) for count in range(len(lines) + 1)]
    folder = absent.output.parent / "beginning"
    folder.mkdir()
    standings = set()
    for beginning in beginnings:
        (folder / "run.jsonl").write_bytes(beginning)
        site = RunReader(folder).look().sites.get("clinic-1")
        standings.add(site.standing if site else "")

    assert {"here", "waited for", "absent"} <= standings


def test_scores_are_those_of_the_report(absent: Rehearsal) -> None:
    state, results = seen(absent), absent.results

    assert (state.metric, state.best_block) == (results.metric, results.best_block)
    assert {(one.method, one.modalities, one.patients): one.value for one in results.scores} == {
        (one.method, one.modalities, one.patients): one.value for one in state.scores
    }
    assert state.status == absent.report.status
    assert absent.report.recommendation is not None
    assert absent.report.recommendation.sentence in state.recommendation


def test_every_phase_is_told_with_its_time(absent: Rehearsal) -> None:
    phases = [one.phase for one in seen(absent).phases]

    assert phases == ["offer", "agree", "blocks", "merge", "evaluate"]
    assert view_of(seen(absent), now=datetime.now(UTC))["elapsed_seconds"] == pytest.approx(
        absent.report.seconds, abs=5
    )


def test_what_privacy_has_cost_is_that_of_the_report(noised: Rehearsal) -> None:
    state = seen(noised)

    assert noised.report.spent
    assert {site: (one.epsilon, one.delta) for site, one in noised.report.spent.items()} == {
        site: (one.epsilon, one.delta) for site, one in state.sites.items() if one.epsilon is not None
    }
    assert state.epsilon == 100


def test_a_score_of_too_few_validation_patients_is_not_written_down(run: Run) -> None:
    told = run(with_survival(tiny_plan()))
    withheld = run(with_survival(tiny_plan(FEW)))

    assert all(
        one.validation_score is not None for block in seen(told).blocks.values() for one in block.curve
    )
    assert all(
        one.validation_score is None for block in seen(withheld).blocks.values() for one in block.curve
    )
    assert seen(withheld).scores == ()


def test_under_a_secure_sum_no_number_of_a_single_site_is_in_the_diary(run: Run) -> None:
    ended = run(with_survival(clinics_only(SUMMED, hospitals=4, patients=240)))
    state = seen(ended)

    assert {one.site for block in state.blocks.values() for one in block.points} == {"all sites together"}
    assert state.blocks["clinical"].curve
    numbers = {
        key
        for event in ended.events
        if event.get("site") in state.sites
        for key, value in event.items()
        if isinstance(value, float)
    }
    assert numbers == set(), json.dumps(sorted(numbers))
