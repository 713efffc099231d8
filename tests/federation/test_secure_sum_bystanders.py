"""Around the sums: nothing that a site refuses, or adds in vain, tells what the sums hide."""

from pathlib import Path

import pytest
import torch
from rehearsal import Rehearsal, Run
from sum_desk import Consortium, Desk, claiming, lying, set_rules, summing_clinics
from test_gate import ask
from tiny_plans import clinics_only, group, patients_of, tiny_plan

from client.app import app as client_app
from client.sums import NOTHING_TO_ADD
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.protocol import AskBlockUpdate, Refusal
from lego_core.sum_letters import AskSumKeys, MaskedVectors
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
