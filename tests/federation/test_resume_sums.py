"""A run with secure sums goes on after a crash, and no sum is opened that would show a site."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from crashes import Attempts, Killed, KilledError, Snapshots
from flwr.app import Message
from rehearsal import Rehearsal
from tiny_plans import clinics_only

from client.records import read_letter
from lego_core.chained_log import verify_log
from lego_core.plan import RunPlan
from lego_core.protocol import AskBlockUpdate, AskOutcomes, AskReport
from lego_core.sum_letters import AskSumConfirmations, AskSumKeys, AskSumOpening, AskSumShares

LEGS = (AskSumKeys, AskSumShares, AskBlockUpdate, AskSumConfirmations, AskSumOpening)
LOST = 4


def clinics_plan(
    hospitals: int, changes: str = "", *, kind: str = "secure-sum", privacy: str = ""
) -> RunPlan:
    """Clinics of one modality, in sums."""
    return clinics_only(
        f'[privacy]\nkind = "{kind}"\n{privacy}\n[rounds]\nrounds = 2\n[participation]\nround-seconds = 1\n'
        f"{changes}",
        hospitals=hospitals,
        patients=40 * hospitals,
    )


def in_round(number: int, leg: type) -> tuple[str, int]:
    """The last question of a leg in the sums of a round, of three clinics."""
    before = 2 if leg is not AskBlockUpdate else 0  # the agreement has two
    return leg.kind, 3 * (before + number) - 1


KILLS = {f"round {number}, {leg.kind}": in_round(number, leg) for number in (1, 2) for leg in LEGS} | {
    "agreement": (AskOutcomes.kind, 2),
    "evaluation": (AskReport.kind, 2),
}
OFTEN = ("round 2, query.sum_confirm", "round 2, query.sum_open")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rehearsal, dict[tuple[str, int], Attempts]]:
    """A run that was not interrupted, and what it would have left at some questions."""
    attempts = Attempts.of(clinics_plan(3), tmp_path_factory.mktemp("whole"))
    snapshots = Snapshots(attempts, tmp_path_factory.mktemp("killed"), wanted=list(KILLS.values()))
    return attempts.run(snapshots), snapshots.taken


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[] if one in OFTEN else [pytest.mark.slow]) for one in KILLS]
)
def test_a_sum_that_was_lost_is_begun_again_over_the_same_sites(
    whole: tuple[Rehearsal, dict[tuple[str, int], Attempts]], name: str
) -> None:
    uninterrupted, killed = whole

    ended = killed[KILLS[name]].run(resume=True)

    assert ended.error is None
    assert ended.weights_hash == uninterrupted.weights_hash
    assert ended.results == uninterrupted.results
    assert ended.report.status == "complete"
    assert_no_two_sums_show_a_site(ended, sites=3)


def lost_in_round_2(site: int, message: Message, answer: Callable[[], Message]) -> Message | None:
    """One clinic does not answer for its training in round 2."""
    if site == LOST and message.metadata.message_type == AskBlockUpdate.kind:
        question = AskBlockUpdate.read(read_letter(message))
        if question.round == 2 and not question.score_only:
            raise ConnectionError("the line to the site broke")
    return answer()


def test_who_was_not_in_the_sum_before_the_crash_is_not_in_it_afterwards(tmp_path: Path) -> None:
    """Else the two sums would differ by this one site, and the others would not sign."""
    uninterrupted = Attempts.of(clinics_plan(5), tmp_path / "whole").run(lost_in_round_2)
    attempts = Attempts.of(clinics_plan(5), tmp_path / "run")
    with pytest.raises(KilledError):
        attempts.run(Killed(AskSumConfirmations.kind, 5 * 3 + 3, lost_in_round_2))

    ended = attempts.run(resume=True)

    assert ended.error is None
    (left,) = [one for one in ended.left_out("clinic-5") if one.modality == "blocks/clinical"]
    assert "without it before the run was resumed: two sums that differ by it would show it" in left.reason
    assert ended.weights_hash == uninterrupted.weights_hash
    assert_no_two_sums_show_a_site(ended, sites=5)


def test_a_site_that_is_lost_with_the_server_after_it_signed_must_come_back(tmp_path: Path) -> None:
    """The others have signed for it: without it, the same sum would show it. They wait, and lose nothing."""
    uninterrupted = Attempts.of(clinics_plan(5), tmp_path / "whole").run()
    attempts = Attempts.of(clinics_plan(5), tmp_path / "run")
    with pytest.raises(KilledError):
        attempts.run(Killed(AskSumOpening.kind, 5 * 3))

    def gone(site: int, message: Message, answer: Callable[[], Message]) -> Message | None:
        return None if site == LOST else answer()

    without = attempts.run(gone, resume=True)
    ended = attempts.run(resume=True)

    assert without.report.status == "failed"
    assert "resume the run when they are back" in without.report.reason
    assert "with ['clinic-5'] in it, and some may have signed" in without.report.reason
    assert len(without.asked(AskSumConfirmations)) == 0
    assert ended.error is None
    assert ended.weights_hash == uninterrupted.weights_hash
    assert_no_two_sums_show_a_site(ended, sites=5)


def test_a_server_that_resumes_cannot_have_other_sites_signed_for(tmp_path: Path) -> None:
    """To a site a resumed run is one more run: what its ledger refuses of runs it refuses of this one."""
    attempts = Attempts.of(clinics_plan(5), tmp_path / "run")
    with pytest.raises(KilledError):
        attempts.run(Killed(AskSumOpening.kind, 5 * 3, lost_in_round_2))
    log = attempts.output / "run.jsonl"

    lines = log.read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if b'"round-finished"' in line)
    log.write_bytes(b"".join(lines[: last + 1]))  # whoever resumes has put away whom it had asked for

    ended = attempts.run(resume=True)

    assert ended.report.status == "failed"
    reasons = [one.reason for one in ended.report.left_out if one.site == "clinic-1"]
    assert any("for the same weights, over other sites" in reason for reason in reasons)
    assert_no_two_sums_show_a_site(ended, sites=5)


@pytest.mark.slow
def test_lots_that_were_drawn_stay_as_they_are(tmp_path: Path) -> None:
    """Buckets of other sites could be solved for single ones."""
    plan = clinics_plan(6, privacy="buckets = 2")
    attempts = Attempts.of(plan, tmp_path / "run")
    with pytest.raises(KilledError):
        attempts.run(Killed(AskSumOpening.kind, 6 * 2))

    ended = attempts.run(resume=True)

    drawn: dict[str, set[frozenset[str]]] = {}
    for one in ended.events:
        if one["event"] == "opening-asked" and one["sum"].startswith("blocks/"):
            drawn.setdefault(one["sum"], set()).add(frozenset(one["sites"]))
    assert ended.error is None
    assert sorted(drawn) == ["blocks/clinical#1", "blocks/clinical#2"]
    assert all(len(sets) == 1 for sets in drawn.values())


@pytest.mark.parametrize("sums", [False, True])
def test_what_was_paid_before_a_crash_stays_paid(tmp_path: Path, sums: bool) -> None:
    noise = "epsilon = 100.0\nnoise-multiplier = 1.0\nbatch-size = 8\nsteps = 3"
    table = "\n[privacy.secure-sum]" if sums else ""
    plan = clinics_plan(3, '[training]\nkeep = "last"', kind="patient-dp", privacy=f"{noise}{table}")
    attempts = Attempts.of(plan, tmp_path / "run")
    with pytest.raises(KilledError):
        attempts.run(Killed(AskBlockUpdate.kind, 3 + 2))  # all have paid for round 2, and nobody has it

    ended = attempts.run(resume=True)

    assert ended.error is None
    for number in range(3):
        events, head = verify_log(ended.sites / f"site-{number}" / "ledger.jsonl")
        charged = [one for one in events if one["event"] == "privacy-charged"]
        assert [one["purpose"][-7:] for one in charged] == ["round 1", "round 2", "round 2"]
        told = ended.report.spent[f"clinic-{number + 1}"]
        assert told.epsilon >= charged[-1]["epsilon"] > charged[-2]["epsilon"] > charged[0]["epsilon"]
        assert head


def test_what_was_told_of_costs_before_a_crash_is_in_the_report_of_who_did_not_come_back(
    tmp_path: Path,
) -> None:
    noise = "epsilon = 100.0\nnoise-multiplier = 1.0\nbatch-size = 8\nsteps = 3"
    plan = clinics_plan(3, '[training]\nkeep = "last"', kind="patient-dp", privacy=noise)
    attempts = Attempts.of(plan, tmp_path / "run")
    with pytest.raises(KilledError):
        attempts.run(Killed(AskBlockUpdate.kind, 3 + 3))  # round 2 is told of; the last weights are scored
    for folder in attempts.checkpoints[-1:]:
        (folder / "checkpoint.json").unlink()  # and lost

    def gone(site: int, message: Message, answer: Callable[[], Message]) -> Message | None:
        return None if site == 2 else answer()

    ended = attempts.run(gone, resume=True)

    events, _ = verify_log(ended.sites / "site-2" / "ledger.jsonl")
    charged = [one["epsilon"] for one in events if one["event"] == "privacy-charged"]
    assert len(charged) == 2
    assert ended.report.spent["clinic-3"].epsilon >= charged[-1]


def assert_no_two_sums_show_a_site(ended: Rehearsal, *, sites: int) -> None:
    """Of the sets of sites that anybody let be summed for the same weights, no two differ by one or two."""
    for number in range(sites):
        events, _ = verify_log(ended.sites / f"site-{number}" / "ledger.jsonl")
        confirmed: dict[tuple[str, str], list[frozenset[str]]] = {}
        for one in events:
            if one["event"] == "sum-confirmed":
                key = (one["group"], one["weights_sha256"])
                confirmed.setdefault(key, []).append(frozenset(one["sites"]))
        assert confirmed
        for sets in confirmed.values():
            assert all(len(one ^ other) not in (1, 2) for one, other in combinations(sets, 2))
