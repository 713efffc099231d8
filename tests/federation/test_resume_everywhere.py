"""Wherever a run breaks off: at every question, at any write of any file, as often as may be."""

import os
from pathlib import Path

import pytest
from crashes import Attempts, Killed, KilledError, Snapshots
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rehearsal import Rehearsal
from test_resume import GROUPS
from test_resume_sums import assert_no_two_sums_show_a_site, clinics_plan
from tiny_plans import patients_of, tiny_plan

from lego_core.chained_log import verify_log
from lego_core.plan import RunPlan
from lego_core.protocol import AskBlockUpdate, AskFuseUpdate, AskOffer, AskReport

pytestmark = pytest.mark.slow
PLANS = {
    "no-privacy": tiny_plan(f"[fuse]\nrounds = 1\n{patients_of(*GROUPS, patients=140)}"),
    "secure-sum": clinics_plan(3),
}
KINDS = (AskOffer.kind, AskBlockUpdate.kind, AskFuseUpdate.kind, AskReport.kind)
FEW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Rehearsal]:
    """The runs as they end if nothing happens."""
    return {name: Attempts.of(plan, tmp_path_factory.mktemp(name)).run() for name, plan in PLANS.items()}


@pytest.mark.parametrize("answered", [False, True], ids=["before it is answered", "after it is answered"])
@pytest.mark.parametrize("name", PLANS)
def test_at_every_question(
    uninterrupted: dict[str, Rehearsal], tmp_path: Path, name: str, answered: bool
) -> None:
    whole = uninterrupted[name]
    attempts = Attempts.of(PLANS[name], tmp_path / "run")
    snapshots = Snapshots(attempts, tmp_path, answered=answered)
    attempts.run(snapshots)
    assert len(snapshots.taken) == len(whole.wire.asked)

    for question, killed in snapshots.taken.items():
        ended = killed.run(resume=True)
        assert ended.error is None, question
        assert ended.weights_hash == whole.weights_hash, question
        assert ended.results == whole.results, question
        assert ended.report.rounds == whole.report.rounds, question
        assert ended.report.status == "complete", question
        verify_log(ended.output / "run.jsonl")
        if name == "secure-sum":
            assert_no_two_sums_show_a_site(ended, sites=3)


def make(plan: RunPlan, folder: Path) -> Attempts:
    """A run in a folder that no example had before."""
    number = len(list(folder.glob("run-*")))
    return Attempts.of(plan, folder / f"run-{number}")


@FEW
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 7)), min_size=1, max_size=4))
def test_again_and_again(
    uninterrupted: dict[str, Rehearsal], tmp_path: Path, kills: list[tuple[str, int]]
) -> None:
    attempts = make(PLANS["no-privacy"], tmp_path)
    was_killed = False
    for kind, number in kills:
        try:
            attempts.run(Killed(kind, number), resume=was_killed)
        except KilledError:
            was_killed = True
            continue
        break
    else:
        attempts.run(resume=True)

    ended = Rehearsal(attempts.plan, attempts.output, attempts.folder, None, None, None)  # type: ignore[arg-type]
    assert ended.weights_hash == uninterrupted["no-privacy"].weights_hash


@pytest.mark.parametrize("name", PLANS)
def test_at_any_write_of_server_and_sites(
    uninterrupted: dict[str, Rehearsal], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine dies while it writes: a log, a ledger, a checkpoint, the file of a model."""
    written: list[int] = []
    sync = os.fsync

    def count(handle: int) -> None:
        written.append(handle)
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", count)
        make(PLANS[name], tmp_path).run()
    every = len(written)

    @FEW
    @given(at=st.integers(0, every - 1))
    def killed_at(at: int) -> None:
        left = at

        def kill(handle: int) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise KilledError
            sync(handle)

        attempts = make(PLANS[name], tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", kill)
            with pytest.raises(KilledError):
                attempts.run()
        has_begun = (attempts.output / "checkpoints").is_dir() and attempts.checkpoints
        ended = attempts.run(resume=bool(has_begun and attempts.checkpoints[0].name[0] != "."))
        assert ended.error is None
        assert ended.weights_hash == uninterrupted[name].weights_hash

    killed_at()
