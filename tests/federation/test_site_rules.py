"""A site that rules its own data: what it declines, in which words, and that it read nothing before."""

import hashlib
import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tomli_w
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from pydantic import ValidationError
from rehearsal import Rehearsal, Run
from summing_plans import CLINICS, summing_plan
from test_gate import ask
from tiny_plans import tiny_plan

from client.app import app as client_app
from client.records import read_letter
from client.rules import SiteRules
from client.site import Site, read_site_file
from client.sums import terms_of
from lego_core.errors import DataError, SecureSumError, SiteRefusal
from lego_core.letters import Letter
from lego_core.plan import RunPlan
from lego_core.privacy import PatientDp, SumTerms
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.protocol import (
    Agreement,
    AskBlockUpdate,
    AskFuseUpdate,
    AskGrams,
    AskOffer,
    AskOutcomes,
    AskReport,
    AskStatistics,
    Offer,
    Progress,
    Refusal,
    SiteReport,
    Statistics,
    Update,
)
from lego_core.records import ModalitySchema
from lego_core.sum_letters import AskSumConfirmations, AskSumKeys, AskSumOpening, AskSumShares, SumKeys
from simulations.in_process import FIRST_NODE_ID, InProcessGrid

FUSE = "[fuse]\nrounds = 1\n"
CLINIC, TEACHING = 0, 3


@pytest.fixture(scope="module")
def ended(run: Run) -> Rehearsal:
    return run(tiny_plan(FUSE))


@pytest.fixture
def sites(ended: Rehearsal, tmp_path: Path) -> Path:
    """The sites of that run, for a test to change."""
    return shutil.copytree(ended.sites, tmp_path / "sites")


def set_rules(sites: Path, rules: dict[str, Any], *, site: int = 0) -> None:
    path = sites / f"site-{site}" / "site.toml"
    plain = read_site_file(path).to_plain()
    path.write_text(tomli_w.dumps({**plain, "rules": rules}), encoding="utf-8")


def set_plan(sites: Path, **changes: Any) -> None:
    plain = RunPlan.load(sites / "plan.toml").to_plain()
    (sites / "plan.toml").write_text(tomli_w.dumps(plain | changes), encoding="utf-8")


def take_the_data_away(sites: Path) -> None:
    for path in sites.glob("site-0/*.csv"):
        path.unlink()


def refused(sites: Path, letter: Letter | None = None) -> str:
    """What the first site says to a question that it declines."""
    answer, _ = ask(client_app, sites, letter=letter)
    refusal = Refusal.read(answer)
    assert refusal.declined, refusal.public
    return refusal.public


# ---- each rule, in words ------------------------------------------------------------------------------

SAID: dict[str, tuple[dict[str, Any], str]] = {
    "privacy": (
        {"privacy": ["secure-sum"]},
        "the run has privacy 'no-privacy' and this site accepts ['secure-sum'] (key rules.privacy)",
    ),
    "modalities": (
        {"modalities": ["scan"]},
        "the run is about ['blood', 'clinical'] and this site lets ['scan'] take part (key rules.modalities)",
    ),
    "encoders": (
        {"encoders": ["image", "patches"]},
        "the run encodes 'clinical' by 'tabular' and this site accepts ['image', 'patches'] (key "
        "rules.encoders)",
    ),
    "smallest group": (
        {"smallest-group": 3},
        "the run goes on with 1 sites and this site asks for 3 (key rules.smallest-group)",
    ),
    "most rounds": (
        {"most-rounds": 2},
        "the run has 3 rounds of training and this site takes part in 2 (key rules.most-rounds)",
    ),
    "plans": ({"plans": ["0" * 64]}, "and this site has approved 1 others (key rules.plans)"),
}


@pytest.mark.parametrize("rule", SAID)
def test_refusal_names_both_values_the_key_and_the_way_out(rule: str, sites: Path) -> None:
    rules, sentence = SAID[rule]
    set_rules(sites, rules)

    said = refused(sites)

    assert said.startswith("This site declines: ")
    assert sentence in said
    assert said.endswith(
        "No data was opened. Agree on a plan that the site accepts, or let its operator change [rules] in "
        "site.toml."
    )


@pytest.mark.parametrize("rule", SAID)
def test_refused_run_reads_no_file_of_patients(rule: str, sites: Path) -> None:
    set_rules(sites, SAID[rule][0])
    take_the_data_away(sites)

    assert SAID[rule][1] in refused(sites)


def test_without_its_data_a_site_that_accepts_the_run_fails(sites: Path) -> None:
    take_the_data_away(sites)

    letter, _ = ask(client_app, sites)

    assert not Refusal.read(letter).declined  # so that the refusals above come from rules alone


def test_all_that_stands_against_a_run_is_said_at_once(sites: Path) -> None:
    set_rules(sites, {"privacy": ["secure-sum"], "most-rounds": 1})

    said = refused(sites)

    assert "(key rules.privacy); the run has 3 rounds" in said


AGREEMENT = Agreement(
    schemas={"clinical": ModalitySchema(layout="table", features=("x",))}, task=tiny_plan().task
)
QUESTIONS = [
    AskOffer(),
    AskStatistics(modality="clinical", schema_of_group=AGREEMENT.schemas["clinical"]),
    AskOutcomes(),
    AskBlockUpdate(agreement=AGREEMENT, modality="clinical", round=1),
    AskFuseUpdate(agreement=AGREEMENT, modalities=("clinical",), round=1),
    AskGrams(agreement=AGREEMENT, modality="clinical"),
    AskReport(agreement=AGREEMENT, modalities=("clinical",)),
    AskSumKeys(sessions=()),
    AskSumShares(bundles={}),
    AskSumConfirmations(sets={}),
    AskSumOpening(confirmations={}),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.kind)
def test_server_that_skips_the_offer_is_declined_all_the_same(question: Any, sites: Path) -> None:
    set_rules(sites, {"privacy": ["secure-sum"]})
    take_the_data_away(sites)

    assert "this site accepts ['secure-sum']" in refused(sites, question.letter())


# ---- rules that a run keeps -----------------------------------------------------------------------------


def test_rules_that_a_run_keeps_change_nothing(sites: Path) -> None:
    before, _ = ask(client_app, sites)
    approved = hashlib.sha256((sites / "plan.toml").read_bytes()).hexdigest()
    rules = {
        "privacy": ["no-privacy"], "epsilon": 1.0, "modalities": ["clinical", "blood"],
        "encoders": ["tabular"],
        "smallest-group": 1, "most-rounds": 3, "smallest-count": 1, "plans": ["0" * 64, approved],
    }  # fmt: skip
    set_rules(sites, rules)

    after, _ = ask(client_app, sites)

    assert Offer.read(after) == Offer.read(before)


def test_changed_plan_is_no_longer_the_approved_one(sites: Path) -> None:
    approved = hashlib.sha256((sites / "plan.toml").read_bytes()).hexdigest()
    set_rules(sites, {"plans": [approved]})
    set_plan(sites, seed=4)
    changed = hashlib.sha256((sites / "plan.toml").read_bytes()).hexdigest()

    assert f"the plan 'tiny' has SHA-256 {changed}" in refused(sites)


def with_budget(plan: RunPlan, epsilon: float) -> RunPlan:
    """The same plan with noise in the training."""
    privacy = PatientDp(kind="patient-dp", epsilon=epsilon, noise_multiplier=1, batch_size=8, steps=3)
    return plan.model_copy(update={"privacy": privacy})


@pytest.mark.parametrize(("epsilon", "is_accepted"), [(2.9, True), (3.0, True), (3.1, False), (8.0, False)])
def test_budget_is_compared_where_the_plan_spends_one(epsilon: float, is_accepted: bool) -> None:
    rules, plan = SiteRules(epsilon=3.0), with_budget(tiny_plan(), epsilon)

    if is_accepted:
        rules.check_plan(plan, sha256="")
        return
    with pytest.raises(
        SiteRefusal, match=rf"the run spends epsilon {epsilon:g} and this site accepts 3 \(key"
    ):
        rules.check_plan(plan, sha256="")


# ---- encoders that call code ----------------------------------------------------------------------------


@pytest.fixture
def with_module(sites: Path) -> Path:
    plain = RunPlan.load(sites / "plan.toml").to_plain()
    plain["modalities"]["clinical"]["encoder"] = {"kind": "module", "source": "torch.nn:Identity"}
    (sites / "plan.toml").write_text(tomli_w.dumps(plain), encoding="utf-8")
    return sites


def test_encoder_that_calls_code_must_be_named(with_module: Path) -> None:
    set_rules(with_module, {})

    said = refused(with_module)

    assert "the run encodes 'clinical' by 'module' and this site accepts ['image', 'patches'" in said
    set_rules(with_module, {"encoders": ["module", "tabular"]})
    letter, _ = ask(client_app, with_module)
    assert Offer.read(letter).modalities["clinical"].encoder.kind == "module"


def test_encoder_of_a_modality_that_takes_no_part_does_not_matter(with_module: Path) -> None:
    set_rules(with_module, {"modalities": ["blood"]}, site=CLINIC)

    letter, _ = ask(client_app, with_module)

    assert Offer.read(letter).modalities == {}


# ---- modalities, rounds and counts ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clinical_only(run: Run) -> Rehearsal:
    def rule(sites: Path) -> None:
        set_rules(sites, {"modalities": ["clinical"]}, site=TEACHING)

    return run(tiny_plan(FUSE), prepare=rule)


def test_modality_that_may_not_take_part_is_not_offered(clinical_only: Rehearsal, ended: Rehearsal) -> None:
    (offer,) = [Offer.read(sent.letter) for sent in clinical_only.answered(Offer, site=TEACHING)]
    (before,) = [Offer.read(sent.letter) for sent in ended.answered(Offer, site=TEACHING)]

    assert set(before.modalities) == {"blood", "clinical"}
    assert set(offer.modalities) == {"clinical"}
    assert before.paired
    assert not offer.paired
    assert {name for group in offer.test_groups for name in group} == {"clinical"}


def test_nothing_of_a_closed_modality_leaves(clinical_only: Rehearsal) -> None:
    letters = [sent.letter for kind in (Statistics, Update, SiteReport) for sent in
               clinical_only.answered(kind, site=TEACHING)]  # fmt: skip

    assert letters
    assert not any(
        "blood" in letter.body or any("blood" in name for name in letter.tensors) for letter in letters
    )


def test_question_about_a_closed_modality_is_declined_before_data_are_opened(sites: Path) -> None:
    set_rules(sites, {"modalities": ["blood"]})
    take_the_data_away(sites)
    schema = ModalitySchema(layout="table", features=("x",))

    said = refused(sites, AskStatistics(modality="clinical", schema_of_group=schema).letter())

    assert said.startswith("This site declines: it is asked about ['clinical'] and lets ['blood'] take part")


def block_question(ended: Rehearsal, **changes: Any) -> Letter:
    letter = ended.asked(AskBlockUpdate, site=CLINIC)[0].letter
    return AskBlockUpdate.read(letter).model_copy(update=changes).letter(letter.tensors)


def test_rounds_beyond_the_most_are_declined_whatever_the_plan_said(ended: Rehearsal, sites: Path) -> None:
    set_rules(sites, {"most-rounds": 3})  # two of blocks, one of the fused model
    second, _ = ask(client_app, sites, letter=block_question(ended, round=2))
    last_score, _ = ask(client_app, sites, letter=block_question(ended, round=2, score_only=True))
    take_the_data_away(sites)

    said = refused(sites, block_question(ended, round=4))

    assert second.kind == Update.kind
    assert last_score.kind == Progress.kind
    assert said.startswith("This site declines: it is asked for round 4 and takes part in 3 at most")


def test_one_shot_is_one_round() -> None:
    plan = tiny_plan('[rounds]\nmode = "one-shot"\nrounds = 20')

    SiteRules(most_rounds=1).check_plan(plan, sha256="")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (AskStatistics, "training patients with modality 'clinical'"),
        (AskOutcomes, "training patients"),
        (AskBlockUpdate, "training patients"),
    ],
)
def test_nothing_leaves_of_fewer_patients_than_the_site_asks_for(
    kind: type[Any], text: str, ended: Rehearsal, sites: Path
) -> None:
    question = ended.asked(kind, site=CLINIC)[0].letter
    train = len(ended.patients(CLINIC).part("train"))
    set_rules(sites, {"smallest-count": train})
    enough, _ = ask(client_app, sites, letter=question)
    set_rules(sites, {"smallest-count": train + 1})

    said = refused(sites, question)

    assert enough.kind != Refusal.kind
    assert f"declines: fewer than {train + 1} {text} would stand behind its answer" in said


def test_losses_of_too_few_validation_patients_stay(ended: Rehearsal, sites: Path) -> None:
    validation = len(ended.patients(CLINIC).part("validation"))
    set_rules(sites, {"smallest-count": validation})
    enough, _ = ask(client_app, sites, letter=block_question(ended))
    set_rules(sites, {"smallest-count": validation + 1})

    too_few, _ = ask(client_app, sites, letter=block_question(ended))

    assert Update.read(enough).progress.validation_patients == validation
    assert Update.read(too_few).progress.validation_patients == 0
    assert Update.read(too_few).progress.validation_loss == 0
    assert all(torch.equal(enough.tensors[name], too_few.tensors[name]) for name in enough.tensors)


@pytest.mark.parametrize("smallest", [1, 10, 80])
def test_larger_of_both_smallest_counts_applies(smallest: int, ended: Rehearsal) -> None:
    site = ended.sites / f"site-{TEACHING}" / "site.toml"
    text = site.read_text()
    question = ended.asked(AskReport, site=TEACHING)[0].letter
    test = len(ended.patients(TEACHING).part("test"))
    try:
        set_rules(ended.sites, {"smallest-count": smallest}, site=TEACHING)
        (reply,) = answers_of(ended, question)
    finally:
        site.write_text(text)

    counts = {row.count for row in SiteReport.read(reply).scores}
    assert 10 <= test < 80
    assert counts == ({test} if smallest <= test else set())


def answers_of(ended: Rehearsal, question: Letter) -> list[Letter]:
    """What the teaching hospital answers, played as the only node."""
    config = {"plan": "tiny", "sites-dir": str(ended.sites), "output": "out"}
    grid = InProcessGrid(TEACHING + 1, run_config=config, app=client_app)
    records = {
        "letter": ConfigRecord({"kind": question.kind, "body": question.body}),
        "tensors": ArrayRecord(dict(question.tensors)),
    }
    message = Message(RecordDict(records), dst_node_id=FIRST_NODE_ID + TEACHING, message_type=question.kind)
    return [read_letter(reply) for reply in grid.send_and_receive([message])]


# ---- secure sums -------------------------------------------------------------------------------------------


def test_plan_of_a_secure_sum_is_judged_by_the_fewest_sites_it_opens_a_sum_of() -> None:
    plan = summing_plan(privacy="min-survivors = 5")
    SiteRules(smallest_group=5).check_plan(plan, sha256="")

    with pytest.raises(SiteRefusal, match=r"goes on with 5 sites and this site asks for 6 \(key rules"):
        SiteRules(smallest_group=6).check_plan(plan, sha256="")


def test_server_cannot_begin_a_sum_over_fewer_sites_than_the_plan_says(run: Run) -> None:
    ended = run(summing_plan(changes="[rounds]\nrounds = 1"))
    question = ended.asked(AskSumKeys, site=CLINICS[0])[0].letter
    privacy = {"kind": "secure-sum", "min-survivors": 4}
    set_plan(ended.sites, privacy=privacy)  # what the sites have read, and the server not

    letter, _ = ask(client_app, ended.sites, letter=question)

    keys = SumKeys.read(letter)
    assert ended.error is None
    assert not keys.bundles
    assert keys.declined
    assert all("a sum of 3 sites could be opened" in reason for reason in keys.declined.values())


def described(min_survivors: int, *, max_corrupt: int, sites: int = 7) -> SessionDescriptor:
    there = tuple(f"site-{place}" for place in range(sites))
    return SessionDescriptor.model_construct(
        participants=there, min_survivors=min_survivors, max_corrupt=max_corrupt
    )


@pytest.mark.parametrize(("plan", "rule"), [(5, 1), (3, 5), (5, 5)])
def test_session_that_opens_over_fewer_sites_than_plan_or_rules_ask_for_is_refused(
    plan: int, rule: int
) -> None:
    rules = SiteRules(smallest_group=rule)
    terms = SumTerms(min_survivors=plan)
    rules.check_session(described(5, max_corrupt=2), terms=terms)

    with pytest.raises(SecureSumError, match=r"a sum of 4 sites could be opened, and .* ask for 5\. Nothing"):
        rules.check_session(described(4, max_corrupt=2), terms=terms)


@pytest.mark.parametrize(
    ("said", "sites", "wanted"), [(2, 5, 2), (None, 7, 2), (None, 10, 3), (None, 100, 5)]
)
def test_session_that_withstands_fewer_corrupt_sites_than_the_plan_says_is_refused(
    said: int | None, sites: int, wanted: int
) -> None:
    terms = SumTerms(max_corrupt=said)
    fewest = wanted + 2
    SiteRules().check_session(described(fewest, max_corrupt=wanted, sites=sites), terms=terms)

    with pytest.raises(
        SecureSumError,
        match=rf"withstands {wanted - 1} corrupt sites of {sites}, and its plan asks for {wanted} \(key",
    ):
        SiteRules().check_session(described(fewest, max_corrupt=wanted - 1, sites=sites), terms=terms)


def test_site_whose_plan_sums_nothing_has_no_terms_for_a_secure_sum() -> None:
    site: Any = SimpleNamespace(plan=tiny_plan())

    with pytest.raises(
        SiteRefusal, match=r"part in a secure sum, and its plan 'tiny' has privacy 'no-privacy'"
    ):
        terms_of(site)


@pytest.mark.parametrize(
    ("question", "most"),
    [
        (AskBlockUpdate(agreement=AGREEMENT, modality="clinical", round=3), 2),
        (AskFuseUpdate(agreement=AGREEMENT, modalities=("clinical",), round=2), 1),
    ],
    ids=["block", "fuse"],
)
def test_round_beyond_the_plan_is_declined(question: Any, most: int, sites: Path) -> None:
    said = refused(sites, question.letter())

    assert f"it is asked for round {most + 1}, and its plan has {most}. Nothing was trained" in said


# ---- rules that cannot be read ----------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"epsilonn": 3}, "epsilonn"),
    "unknown privacy": ({"privacy": ["secure-some"]}, "there is no privacy plan 'secure-some'; there are"),
    "unknown encoder": ({"encoders": ["tabluar"]}, "there is no encoder 'tabluar'; there are"),
    "nothing accepted": ({"privacy": []}, "privacy"),
    "no hash": ({"plans": ["sha256:abc"]}, "plans"),
    "no budget": ({"epsilon": 0}, "epsilon"),
}


@pytest.mark.parametrize("name", WRONG)
def test_rule_that_means_nothing_is_an_error_and_not_passed_over(name: str) -> None:
    rules, text = WRONG[name]

    with pytest.raises(ValidationError, match=text):
        SiteRules.model_validate(rules)


def test_misspelt_rule_stops_the_site_and_not_the_rule(sites: Path) -> None:
    path = sites / "site-0" / "site.toml"
    path.write_text(path.read_text() + "\n" + 'privacyy = ["secure-sum"]\n', encoding="utf-8")
    take_the_data_away(sites)

    letter, _ = ask(client_app, sites)

    assert "there is no such key; check its spelling" in Refusal.read(letter).public


def test_example_in_the_documentation_can_be_read() -> None:
    text = (
        (SiteRules.__doc__ or "").split("```toml")[1].split("```")[0].replace("9f86d081884c7d65...", "0" * 64)
    )
    text = text.replace(', "patient-dp"', "")  # a plan that some versions do not have

    assert SiteRules.model_validate(tomllib.loads(text)["rules"]).smallest_count == 20


# ---- who is in which part ------------------------------------------------------------------------------


def training_patients(sites: Path, *, run: int) -> set[str]:
    config = {"plan": "tiny", "sites-dir": str(sites), "output": "out"}
    context = Context(run, 2, {"partition-id": 0, "num-partitions": 1}, RecordDict(), config)
    return {record.patient_id for record in Site.of(context).cohort.part("train").records}


@pytest.mark.parametrize("own", [None, 5])
def test_a_site_with_a_seed_of_its_own_trains_on_the_same_patients_under_any_plan(
    sites: Path, own: int | None
) -> None:
    path = sites / "site-0" / "site.toml"
    plain = read_site_file(path).to_plain()
    del plain["data"]["part-column"]  # then the site splits
    if own is not None:
        plain |= {"split-seed": own, "split": {"train": 0.6, "validation": 0.2, "test": 0.2}}
    path.write_text(tomli_w.dumps(plain), encoding="utf-8")

    first = training_patients(sites, run=11)
    set_plan(sites, seed=99, split={"train": 0.5, "validation": 0.2, "test": 0.3})

    assert (training_patients(sites, run=12) == first) == (own is not None)


def test_a_seed_without_shares_is_refused(sites: Path) -> None:
    path = sites / "site-0" / "site.toml"
    path.write_text(tomli_w.dumps({**read_site_file(path).to_plain(), "split-seed": 5}), encoding="utf-8")

    with pytest.raises(DataError, match=r"split-seed is 5, and the shares .* add the table \[split\]"):
        read_site_file(path)
