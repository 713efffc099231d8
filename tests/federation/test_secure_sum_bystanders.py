"""Around the sums: nothing that a site refuses, or adds in vain, tells what the sums hide."""

from pathlib import Path
from typing import Any

import pytest
import torch
from rehearsal import Rehearsal, Run
from sum_desk import Consortium, Desk, claiming, lying, set_rules, summing_clinics
from test_gate import ask
from tiny_plans import clinics_only, group, patients_of, tiny_plan
from torch import Tensor

from client.app import app as client_app
from client.sums import NOTHING_TO_ADD
from lego_core.chained_log import verify_log
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.protocol import (
    AskBlockUpdate,
    AskFuseUpdate,
    AskOutcomes,
    AskStatistics,
    Progress,
    Refusal,
)
from lego_core.sum_forms import tensor_hashes, weights_sha256
from lego_core.sum_letters import AskSumKeys, MaskedVectors
from lego_core.training import Trainer
from server.grams import gather_grams
from server.summed_updates import SummedUpdates
from server.training_questions import TrainingQuestions

FIRST_NAME = "clinic-1"


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Consortium:
    return Consortium.of(summing_clinics(5), tmp_path_factory.mktemp("five"))


# ---- refusals that would depend on patients ------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e13])
def test_weights_that_no_training_comes_to_are_refused_before_data_are_opened(run: Run, value: float) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 1"))
    (asked, *_) = ended.asked(AskBlockUpdate, site=0)
    name = next(iter(asked.letter.tensors))
    tensors = {**asked.letter.tensors, name: torch.full_like(asked.letter.tensors[name], value)}
    for path in ended.sites.glob("site-0/*.csv"):
        path.unlink()

    letter, _ = ask(client_app, ended.sites, letter=AskBlockUpdate.read(asked.letter).letter(tensors))

    assert Refusal.read(letter).public.startswith(f"The weights '{name}' that came hold numbers that are not")
    assert "No data was opened." in Refusal.read(letter).public


def overflowing(desk: Desk) -> None:
    """Weights that are numbers, and make others that are not."""
    with torch.no_grad():
        for weight in desk.learner.model.parameters():
            weight.fill_(9e11)


def test_training_beyond_all_numbers_adds_no_change_and_is_no_refusal(five: Consortium) -> None:
    desk = five.desk()
    overflowing(desk)

    gathered = desk.train()

    assert len(gathered.sites) == 5
    assert not desk.left_out
    (update,) = gathered.updates["own"]
    assert not update.total.any()
    assert update.weight > 0


def test_scores_of_weights_beyond_reason_are_numbers(five: Consortium) -> None:
    desk = five.desk(is_judged=True)
    overflowing(desk)

    (progress,) = desk.train().progress

    assert progress.validation_patients > 0
    assert progress.validation_loss < 1e6


def test_gram_matrices_beyond_all_numbers_are_no_refusal(tmp_path: Path) -> None:
    """Weights could be made that bring them about for one patient, and not for others."""
    plan = summing_clinics(3, "[merging.heads]\nkind = 'regmean'\n[merging.trunk]\nkind = 'regmean'")
    desk = Consortium.of(plan, tmp_path).desk()
    assert desk.office is not None
    overflowing(desk)

    sums = gather_grams(
        [desk.learner.model],
        {"clinical": desk.learner.members},
        agreement=desk.agreed.agreement,
        plan=plan,
        office=desk.office,
    )

    assert not desk.left_out
    assert all(torch.isfinite(one).all() for one in sums["clinical"].sums.values())


# ---- sums that look like others ------------------------------------------------------------------------


def test_a_question_about_no_model_comes_without_tensors(run: Run) -> None:
    """A tensor too many would make one sum look like another to the ledger."""
    ended = run(tiny_plan("[rounds]\nrounds = 1"))
    for kind in (AskStatistics, AskOutcomes):
        (asked, *_) = ended.asked(kind, site=0)

        letter, _ = ask(
            client_app, ended.sites, letter=kind.read(asked.letter).letter({"junk": torch.zeros(1)})
        )

        assert "A question about no model came with 1 tensors" in Refusal.read(letter).public


def test_heads_that_nothing_reads_do_not_tell_two_sums_apart(odd: Rehearsal) -> None:
    (asked, *_) = odd.asked(AskFuseUpdate)
    unread = [name for name in asked.letter.tensors if ".trunk.head." in name]
    ledger, _ = verify_log(odd.sites / f"site-{asked.site}" / "ledger.jsonl")
    noted = {one["weights_sha256"] for one in ledger if one.get("group") == "fused/head"}
    read = {name: tensor for name, tensor in asked.letter.tensors.items() if name not in unread}

    assert len(unread) >= 4
    assert noted == {weights_sha256(tensor_hashes(read))}


# ---- nothing trained in vain ---------------------------------------------------------------------------


def test_a_site_that_is_invited_to_a_sum_of_scores_alone_trains_and_pays_nothing(
    five: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_scores(question: AskBlockUpdate) -> AskBlockUpdate:
        sums = {group: one for group, one in question.sums.items() if group.startswith("scores/")}
        return question.model_copy(update={"sums": sums})

    desk = five.desk(lying(AskBlockUpdate, only_scores, to=0), is_judged=True)
    trained: list[int] = []
    monkeypatch.setattr(Trainer, "fit", lambda self, *_, **__: trained.append(1) or [])

    gathered = desk.train()

    assert len(trained) == 4
    (progress,) = gathered.progress
    assert progress.validation_patients > 0
    assert FIRST_NAME not in gathered.sites


def test_a_block_is_trained_as_the_plan_says_and_no_other_way(five: Consortium) -> None:
    desk = five.desk(lying(AskBlockUpdate, lambda one: one.model_copy(update={"to_the_end": True}), to=0))

    desk.train()

    assert "its plan trains in mode 'rounds', and it is asked to train to the end" in desk.reasons(FIRST_NAME)


# ---- one agreement for a run -----------------------------------------------------------------------------


def with_other_base_rates(question: AskBlockUpdate) -> AskBlockUpdate:
    agreement = question.agreement
    task = agreement.task.model_copy(update={"base_logits": (0.25,)})
    return question.model_copy(update={"agreement": agreement.model_copy(update={"task": task})})


def test_a_site_keeps_to_the_first_agreement_of_a_run(five: Consortium) -> None:
    changes = iter([lambda one: one, with_other_base_rates])
    desk = five.desk(lying(AskBlockUpdate, lambda one: next(changes)(one), to=0))

    first = desk.train(number=1)
    desk.learner.model.load_state_dict(desk.weights_after(first))
    second = desk.train(number=2)

    assert FIRST_NAME in first.sites
    assert FIRST_NAME not in second.sites
    said = desk.reasons(FIRST_NAME)
    assert "the server names another agreement in this question than in an earlier one" in said


def with_own_means(question: AskBlockUpdate) -> AskBlockUpdate:
    agreement = question.agreement.model_copy(update={"normalised_at_sites": ("clinical",)})
    return question.model_copy(update={"agreement": agreement})


def test_a_site_takes_means_of_its_own_only_where_the_plan_says_so(run: Run) -> None:
    ended = run(tiny_plan("[rounds]\nrounds = 1"))
    (asked, *_) = ended.asked(AskBlockUpdate, site=0)
    question = with_own_means(AskBlockUpdate.read(asked.letter))

    letter, _ = ask(client_app, ended.sites, letter=question.letter(asked.letter.tensors))

    assert "to take means and spreads of its own for ['clinical'], and its plan names []" in (
        Refusal.read(letter).public
    )


# ---- scores have one sum ----------------------------------------------------------------------------------


def sessions_of(ended: Rehearsal) -> set[tuple[str, int, tuple[str, ...]]]:
    """Group, round and sites of every session that was begun."""
    read = [
        SessionDescriptor.read(packed)
        for one in ended.asked(AskSumKeys)
        for packed in AskSumKeys.read(one.letter).sessions
    ]
    return {(one.group, one.round, one.participants) for one in read}


@pytest.fixture(scope="module")
def odd(run: Run) -> Rehearsal:
    """One clinic has no validation patients; one teaching hospital has blood of test patients only."""
    groups = patients_of(
        group("clinic", "clinical", hospitals=3, split=(0.6, 0.4, 0.0)),
        group("blind", "clinical", split=(1.0, 0.0, 0.0)),
        group("lab", "blood", hospitals=3, split=(0.6, 0.4, 0.0)),
        group("teaching", "clinical", "blood", hospitals=3, split=(0.4, 0.3, 0.3)),
        patients=600,
    )
    return run(tiny_plan(f'[privacy]\nkind = "secure-sum"\n[fuse]\nrounds = 1\n{groups}'))


def test_scores_of_a_round_are_in_one_sum_over_who_can_judge(odd: Rehearsal) -> None:
    scores = {number: sites for group, number, sites in sessions_of(odd) if group == "scores/clinical"}

    assert odd.error is None
    assert set(scores) == {1, 2, 3}  # two rounds of training, and the end
    assert set(scores.values()) == {("clinic-1", "clinic-2", "clinic-3")}


def test_a_site_that_cannot_judge_trains_all_the_same(odd: Rehearsal) -> None:
    updates = {(number, sites) for group, number, sites in sessions_of(odd) if group == "blocks/clinical"}

    assert {number for number, _ in updates} == {1, 2}
    assert all("blind" in sites for _, sites in updates)


def test_the_scores_of_a_round_cannot_be_asked_for_again_over_other_sites(five: Consortium) -> None:
    desk = five.desk(is_judged=True)
    assert desk.office is not None
    desk.train()
    collector = SummedUpdates(TrainingQuestions(five.plan, five.agreed.agreement, "blocks"), desk.office)
    desk.learner.members = desk.learner.members[1:]

    again = collector.score([desk.learner], number=1)["clinical"]

    assert not again.progress
    assert "show one site by subtraction" in desk.reasons("clinic-2")


def test_a_sum_of_scores_that_cannot_be_right_is_put_aside_and_training_goes_on(
    five: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    def false(progress: Progress) -> dict[str, Tensor]:
        wrong = 1e6 if progress.validation_patients else 0.0
        return {name: one - wrong for name, one in honest(progress).items()}

    honest = Progress.scores_to_sums
    monkeypatch.setattr(Progress, "scores_to_sums", false)
    desk = five.desk(is_judged=True)

    gathered = desk.train()

    assert len(gathered.sites) == 5
    assert not gathered.progress
    (told,) = [one for one in events_of(desk) if one["event"] == "scores-put-aside"]
    assert "The sum of all sites' losses" in told["reason"]


def events_of(desk: Desk) -> list[dict[str, Any]]:
    (path,) = Path(str(desk.grid.contexts[0].run_config["output"])).glob("run.jsonl")
    return verify_log(path)[0]


def test_blocks_that_nobody_can_judge_are_told_of(run: Run) -> None:
    groups = patients_of(
        group("clinic", "clinical", hospitals=2, split=(0.6, 0.2, 0.2)),
        group("blind", "clinical", hospitals=2, split=(0.8, 0.0, 0.2)),
        patients=200,
    )
    summed = f'[privacy]\nkind = "secure-sum"\n{groups}'

    ended = run(clinics_only(summed, hospitals=4))
    weighed = run(clinics_only(f'[merging]\nmodality-weights = "validation"\n{summed}', hospitals=4))

    (told,) = [one for one in ended.events if one["event"] == "nobody-judges"]
    assert told["sites"] == ["clinic-1", "clinic-2"]
    assert ended.error is None
    assert "of the sites that train 'clinical', 2 have validation patients" in weighed.report.reason
    assert not weighed.asked(AskBlockUpdate)


# ---- nothing added in vain ---------------------------------------------------------------------------------


def test_a_site_declines_a_sum_to_which_it_would_add_zeros(tmp_path: Path) -> None:
    groups = patients_of(
        group("clinic", "clinical", hospitals=3, split=(0.6, 0.4, 0.0)),
        group("blind", "clinical", split=(1.0, 0.0, 0.0)),
        patients=160,
    )
    changes = '[privacy]\nkind = "secure-sum"\n[participation]\nround-seconds = 0.5\n'
    desk = Consortium.of(clinics_only(f"{changes}{groups}", hospitals=4), tmp_path).desk(is_judged=True)
    members = desk.learner.members
    (blind,) = [one for one in members if one.site == "blind"]
    assert not blind.offer.modalities["clinical"].judges
    desk.learner.members = [claiming(one, judges=True) if one is blind else one for one in members]

    gathered = desk.train()

    assert "blind" in gathered.sites
    assert NOTHING_TO_ADD in desk.reasons("blind")
    (answer,) = desk.answered(MaskedVectors, site=3)
    assert len(answer.letter.tensors) == 1
    (progress,) = gathered.progress
    assert progress.validation_patients > 0


# ---- two runs ------------------------------------------------------------------------------------------


def test_two_runs_over_nearly_the_same_sites_show_nobody(tmp_path: Path) -> None:
    consortium = Consortium.of(summing_clinics(5), tmp_path)
    for number in range(5):
        set_rules(consortium.site(number) / "site.toml", {})
    consortium.desk().train()
    later = consortium.desk()
    later.learner.members = later.learner.members[1:]

    gathered = later.train()

    assert gathered.closed
    assert "they differ by ['clinic-1'], and the difference of the two sums" in later.reasons("clinic-2")


def test_a_run_over_the_same_sites_may_be_repeated(tmp_path: Path) -> None:
    consortium = Consortium.of(summing_clinics(5), tmp_path)
    for number in range(5):
        set_rules(consortium.site(number) / "site.toml", {})

    first, second = (consortium.desk().train() for _ in range(2))

    (one,), (other,) = first.updates["own"], second.updates["own"]
    assert torch.equal(one.total, other.total)
