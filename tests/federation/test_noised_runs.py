"""Training with noise between real server and sites: paid before, told afterwards, stopped at the budget."""

import json

import pytest
import torch
from rehearsal import Rehearsal, Run
from summing_plans import summing_plan
from test_gate import ask
from tiny_plans import NO_TEST, clinics_only, group, patients_of, tiny_plan, with_survival

from client.app import app as client_app
from client.ledger import SiteLedger
from lego_core.accounting import NoisySteps, epsilon_of
from lego_core.assemble import build_block
from lego_core.chained_log import verify_log
from lego_core.evaluation import evaluate
from lego_core.manifest import read_manifest
from lego_core.privacy import default_delta
from lego_core.protocol import (
    AskBlockUpdate,
    AskStatistics,
    MaskedVectors,
    Progress,
    Refusal,
    SiteReport,
    Update,
)
from lego_core.statistics import FeatureStatistics
from lego_core.update import BlockUpdate, to_vector

NOISE = "epsilon = {epsilon}\nnoise-multiplier = {noise}\nbatch-size = 8\nsteps = 3\n"
LAST = '[training]\nkeep = "last"\n'
ROUNDS = 2


def noise(epsilon: float = 100.0, multiplier: float = 1.0) -> str:
    return NOISE.format(epsilon=epsilon, noise=multiplier)


@pytest.fixture(scope="module")
def noised(run: Run) -> Rehearsal:
    plan = clinics_only(f"[privacy]\nkind = 'patient-dp'\n{noise()}{LAST}", hospitals=3, patients=180)
    return run(with_survival(plan))


def expected(ended: Rehearsal, number: int, *, rounds: int) -> float:
    train = ended.patients(number).part("train")
    steps = NoisySteps(1.0, 8 / len(train), 3 * rounds)
    return epsilon_of([steps], delta=default_delta(len(train))).value


def test_every_site_pays_for_every_round_and_the_report_tells_it(noised: Rehearsal) -> None:
    assert noised.report.status == "complete"
    for number, site in enumerate(("clinic-1", "clinic-2", "clinic-3")):
        cost = expected(noised, number, rounds=ROUNDS)
        spent = noised.report.spent[site]
        assert cost <= spent.epsilon <= cost + 0.0101
        assert spent.delta == default_delta(len(noised.patients(number).part("train")))
        ledger = SiteLedger(noised.sites / f"site-{number}" / "ledger.jsonl")
        assert ledger.spent().value == pytest.approx(cost)
        assert ledger.head == spent.ledger_head


def test_page_and_card_tell_what_was_spent(noised: Rehearsal) -> None:
    for file in ("report.html", "bundle/card.md"):
        assert "Spent so far, over all runs of a site: clinic-1 epsilon" in (noised.output / file).read_text()


def test_bundle_names_the_records_that_must_still_hold(noised: Rehearsal) -> None:
    told = read_manifest(noised.output / "bundle").provenance

    assert told is not None
    assert told.ledger_heads == {site: spent.ledger_head for site, spent in noised.report.spent.items()}
    verify_log(noised.output / "run.jsonl", known_head=told.run_log_head)


def test_training_losses_are_not_told(noised: Rehearsal) -> None:
    updates = [Update.read(sent.letter) for sent in noised.answered(Update)]

    assert len(updates) == 3 * ROUNDS
    assert all(update.progress.train_losses == () for update in updates)


def test_charts_tell_nothing_of_the_outcomes_of_training_patients(noised: Rehearsal) -> None:
    plan, agreement = noised.plan, noised.bundle.agreement
    for number, site in enumerate(("clinic-1", "clinic-2", "clinic-3")):
        patients = noised.patients(number)
        (sent,) = noised.answered(SiteReport, site=number)

        expected = evaluate(
            noised.bundle.models, patients.part("test"), task=agreement.task, site=site, seed=plan.seed,
            all_modalities=tuple(agreement.schemas), bootstrap=plan.evaluation.bootstrap, reference="test",
        )  # fmt: skip

        assert len(patients.part("train"))
        assert SiteReport.read(sent.letter).charts == expected.charts
        assert expected.charts[0].details["integrated_brier"] is not None


def test_ledger_is_charged_before_the_update_leaves(noised: Rehearsal) -> None:
    lines = (noised.sites / "site-0" / "ledger.jsonl").read_text().splitlines()
    charges = [json.loads(line) for line in lines]
    audit = [json.loads(line) for line in (noised.sites / "site-0" / "audit.jsonl").read_text().splitlines()]
    sent = [line["time"] for line in audit if line["event"] == "sent" and line["letter"] == "update"]

    assert [line["event"] for line in charges] == ["privacy-charged"] * ROUNDS
    assert all(charge["time"] <= left for charge, left in zip(charges, sent, strict=True))


def test_run_stops_at_the_budget_and_keeps_the_weights_it_has(run: Run) -> None:
    one_round = epsilon_of([NoisySteps(1.0, 8 / 30, 3)], delta=1e-5).value
    plan = clinics_only(
        f"[privacy]\nkind = 'patient-dp'\n{noise(epsilon=one_round * 1.02)}{LAST}[rounds]\nrounds = 4",
        hospitals=3,
        patients=180,
    )

    ended = run(plan)

    assert ended.error is None
    assert ended.report.status == "complete-with-absences"
    (stopped,) = [event for event in ended.events if event["event"] == "budget-spent"]
    assert (stopped["round"], stopped["sites"]) == (2, ["clinic-1", "clinic-2", "clinic-3"])
    assert all("It trains no more" in left.reason for left in ended.left_out("clinic-1"))
    assert len(ended.answered(Update)) == 3
    torch.testing.assert_close(ended.blocks[0].state_dict(), ended.checkpoint(1, "clinical"))


def test_training_is_not_charged_twice_for_what_one_account_has(run: Run) -> None:
    """A second run of the same sites goes on with the account of the first."""
    plan = clinics_only(f"[privacy]\nkind = 'patient-dp'\n{noise()}{LAST}", hospitals=2, patients=120)

    def paid_before(sites) -> None:
        steps = NoisySteps(1.0, 0.2, 30)
        SiteLedger(sites / "site-0" / "ledger.jsonl").charge(
            steps, purpose="earlier", patients=["a"], budget=1e6, delta=1e-5
        )

    ended = run(plan, prepare=paid_before)

    first, second = (ended.report.spent[f"clinic-{number}"].epsilon for number in (1, 2))
    assert first > second + 1


@pytest.fixture(scope="module")
def both(run: Run) -> Rehearsal:
    return run(summing_plan("patient-dp", LAST, privacy=f"{noise()}[privacy.secure-sum]\n"))


def test_noise_and_sums_go_together(both: Rehearsal) -> None:
    assert both.error is None
    assert both.report.status == "complete"
    assert not both.answered(Update)
    assert both.answered(MaskedVectors)
    assert set(both.report.spent) == {site.site for site in both.report.sites}


def test_a_training_loss_that_nobody_told_is_none_and_not_zero(both: Rehearsal) -> None:
    assert both.report.learning
    assert {one.train_loss for one in both.report.learning} == {None}


GROUPS = patients_of(
    group("clinic", "clinical", hospitals=3, split=NO_TEST),
    group("lab", "blood", split=NO_TEST),
    group("teaching", "clinical", "blood", hospitals=3, share=3, split=(0.3, 0.3, 0.4)),
    patients=500,
)
LAB = 3


def alone(named: str = "blood") -> str:
    """A plan in which updates of this modality may travel outside of sums, with noise."""
    return (
        f"[privacy]\nkind = 'secure-sum'\ntoo-few = 'patient-dp'\nalone = ['{named}']\n[privacy.patient-dp]\n"
        f"{noise()}"
    )


@pytest.fixture(scope="module")
def small_group(run: Run) -> Rehearsal:
    return run(tiny_plan(f"{LAST}{alone()}{GROUPS}"))


def test_a_site_too_few_for_a_sum_sends_its_update_with_noise_of_its_own(small_group: Rehearsal) -> None:
    assert small_group.error is None
    assert {sent.site for sent in small_group.answered(Update)} == {LAB}
    assert set(small_group.report.spent) == {"lab"}
    assert not small_group.answered(Progress)


def test_such_an_update_tells_nothing_of_validation_patients(small_group: Rehearsal) -> None:
    for sent in small_group.answered(Update):
        progress = Update.read(sent.letter).progress
        assert (progress.validation_patients, progress.train_losses) == (0, ())


def test_nobody_shares_means_and_spreads_of_a_modality_of_few_sites(small_group: Rehearsal) -> None:
    assert {AskStatistics.read(one.letter).modality for one in small_group.asked(AskStatistics)} == {
        "clinical"
    }
    assert small_group.bundle.agreement.normalised_at_sites == ("blood",)
    block = small_group.merged.blocks["blood"]
    start = build_block(small_group.plan, small_group.bundle.agreement, "blood")
    assert torch.equal(block.feature_mean, start.feature_mean)
    assert torch.equal(block.feature_stddev, start.feature_stddev)


def test_such_a_block_is_trained_with_the_site_s_own_means(small_group: Rehearsal) -> None:
    own = FeatureStatistics.of(small_group.patients(LAB), "blood").normalisation()

    assert float(own.mean.abs().max()) > 0.01  # or the test could not fail
    assert small_group.scores(modalities=("clinical", "blood"), method="merge")
    asked = [AskBlockUpdate.read(one.letter) for one in small_group.asked(AskBlockUpdate, site=LAB)]
    assert all(not question.sums for question in asked)


def test_a_modality_of_few_sites_that_the_plan_does_not_name_ends_the_run(run: Run) -> None:
    ended = run(tiny_plan(f"{LAST}{alone('clinical')}{GROUPS}"))

    assert (
        "Modality 'blood' is trained by 1 sites, and a secure sum of this plan needs 3" in ended.report.reason
    )
    assert "or name it in privacy.alone to let its updates travel with noise" in ended.report.reason
    assert not ended.asked(AskStatistics)


def test_a_site_lets_no_other_update_travel_alone(small_group: Rehearsal) -> None:
    """The server says that too few sites train 'clinical'; the plan of the site does not let it be."""
    (summed, *_) = small_group.asked(AskBlockUpdate, site=0)
    question = AskBlockUpdate.read(summed.letter).model_copy(update={"sums": {}})

    letter, _ = ask(client_app, small_group.sites, letter=question.letter(summed.letter.tensors))

    said = Refusal.read(letter)
    assert said.declined
    assert "it was asked for numbers in the open, and its plan 'tiny'" in said.public


@pytest.mark.parametrize(
    ("merging", "what"),
    [
        ("[merging.heads]\nkind = 'regmean'", "Gram matrices (keys merging.heads and merging.trunk)"),
        ("[merging]\nmodality-weights = 'validation'", "validation scores (key merging.modality-weights)"),
    ],
)
def test_a_merge_that_would_show_a_site_s_own_numbers_ends_the_run_at_once(
    run: Run, merging: str, what: str
) -> None:

    ended = run(tiny_plan(f"{LAST}{alone()}{merging}\n{GROUPS}"))

    assert "Modality 'blood' is trained by 1 sites, too few for a sum" in ended.report.reason
    assert what in ended.report.reason
    assert not ended.asked(AskBlockUpdate)


def test_an_update_that_travels_alone_is_bounded_at_the_server(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far_too_long(update: dict[str, torch.Tensor], *, weight: float, bound: float):
        return BlockUpdate(torch.full_like(to_vector(update), bound) * weight, weight), False

    monkeypatch.setattr("client.local_training.shortened", far_too_long)

    ended = run(tiny_plan(f"{LAST}{alone()}{GROUPS}"))

    (left,) = ended.left_out("lab", phase="blocks")
    assert "Site 'lab', part 'blood': its update has norm" in left.reason
