"""Sites that fail, lie, or stay away: each is left out by name, and the round goes on without it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pytest
import torch
from faults import Answer, Spoil, at_sites, raising, silent, with_letter, with_progress, with_tensors
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from listening import ListeningGrid
from rehearsal import Rehearsal, Run
from tiny_plans import clinics_only, tiny_plan
from torch import Tensor

from client.records import read_letter
from lego_core.errors import RunError
from lego_core.letters import Letter
from lego_core.protocol import (
    AskBlockUpdate,
    AskOffer,
    AskOutcomes,
    AskReport,
    AskStatistics,
    Offer,
    Progress,
    Refusal,
    ScoreRow,
    SiteReport,
    Update,
)
from lego_core.trunk import LatentContract
from simulations.in_process import Fault, RunConfig, answer_faithfully

# ---- ways to spoil an answer ---------------------------------------------------------------


def with_first(change: Callable[[Tensor], Tensor]) -> Spoil:
    def spoil(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = min(tensors)
        return {**tensors, name: change(tensors[name])}

    return with_tensors(spoil)


def with_update(**changes: object) -> Spoil:
    def spoil(letter: Letter) -> Letter:
        update = Update.read(letter)
        return update.model_copy(update=changes).letter(letter.tensors)

    return with_letter(spoil)


def with_report(change: Callable[[SiteReport], SiteReport]) -> Spoil:
    return with_letter(lambda letter: change(SiteReport.read(letter)).letter())


def with_rows(**changes: object) -> Spoil:
    def spoil(report: SiteReport) -> SiteReport:
        rows = tuple(row.model_copy(update=changes) for row in report.scores)
        return report.model_copy(update={"scores": rows})

    return with_report(spoil)


def complete(report: SiteReport) -> tuple[ScoreRow, ...]:
    return tuple(row for row in report.scores if row.patients == "complete")


def with_choices(**changes: object) -> Spoil:
    def spoil(report: SiteReport) -> SiteReport:
        row = report.scores[0].model_copy(update={"patients": "complete", **changes})
        return report.model_copy(update={"validation": (row,)})

    return with_report(spoil)


def with_records(records: Mapping[str, ConfigRecord | ArrayRecord]) -> Spoil:
    return lambda message, _: Message(RecordDict(dict(records)), reply_to=message)


def in_body(key: str, text: str) -> Spoil:
    return with_letter(lambda letter: replace(letter, body=f'{{"{key}": {text}, {letter.body[1:]}'))


LETTER = ConfigRecord({"kind": "update", "body": "{}"})
NOT_AN_ARRAY = ArrayRecord({"x": Array(dtype="float32", shape=(1,), stype="numpy.ndarray", data=b"junk")})

BAD_UPDATES: dict[str, tuple[Spoil, str]] = {
    "raises": (raising, "the process of the site broke"),
    "declines": (
        with_letter(lambda _: Refusal(declined=True, public="Not today.").letter()),
        "Not today.",
    ),
    "fails": (
        with_letter(lambda _: Refusal(declined=False, public="The disk is full.").letter()),
        "The disk is full.",
    ),
    "NaN": (with_first(lambda t: t * torch.nan), "values not finite"),
    "infinity": (with_first(lambda t: t + torch.inf), "values not finite"),
    "wrong shape": (with_first(lambda t: t[None]), "were declared"),
    "wrong dtype": (with_first(lambda t: t.double()), "type torch.float64"),
    "missing tensor": (with_tensors(lambda t: dict(list(t.items())[1:])), "were declared"),
    "undeclared tensor": (with_tensors(lambda t: {**t, "records": torch.ones(3)}), "'records'"),
    "renamed tensor": (with_tensors(lambda t: {f"{k}_": v for k, v in t.items()}), "were declared"),
    "no tensors": (with_tensors(lambda _: {}), "were declared"),
    "unknown key": (in_body("colour", '"red"'), "key 'colour': there is no such key"),
    "not JSON": (with_letter(lambda letter: replace(letter, body="{")), "Letter 'update'"),
    "another kind": (
        with_letter(lambda _: Progress().letter()),
        "A letter of kind 'progress' came where 'update' was expected",
    ),
    "weight 0": (with_update(weight=0.0), "no patient stands behind"),
    "infinite weight": (with_update(weight=float("inf")), "key 'weight'"),
    "absurd weight": (with_update(weight=1e300), "key 'weight'"),
    "loss is NaN": (with_progress(validation_loss=float("nan")), "not finite"),
    "training loss is NaN": (with_progress(train_losses=(float("nan"),)), "not finite"),
    "other records": (
        with_records({"parameters": ArrayRecord({})}),
        "sent records ['parameters'] where 'letter' and 'tensors' were expected",
    ),
    "letter without kind": (
        with_records({"letter": ConfigRecord({"body": "{}"}), "tensors": ArrayRecord({})}),
        "cannot be read",
    ),
    "letter of arrays": (
        with_records({"letter": ArrayRecord({}), "tensors": ArrayRecord({})}),
        "cannot be read",
    ),
    "tensors that are none": (with_records({"letter": LETTER, "tensors": NOT_AN_ARRAY}), "cannot be read"),
    "text for a tensor": (with_records({"letter": LETTER, "tensors": LETTER}), "cannot be read"),
}  # fmt: skip

BAD_REPORTS: dict[str, tuple[Spoil, str]] = {
    "raises": (raising, "the process of the site broke"),
    "unknown key": (in_body("colour", '"red"'), "key 'colour': there is no such key"),
    "score is NaN": (with_rows(value=float("nan")), "not a number from 0 to 1"),
    "score above 1": (with_rows(value=1.5), "not a number from 0 to 1"),
    "pairs without end": (with_rows(pairs=float("inf")), "inf comparable pairs"),
    "other resamples": (with_rows(resampled=((0.5, 1.0),) * 3), "3 resamples and this run asks for 20"),
    "resample is NaN": (with_rows(resampled=((float("nan"), 1.0),) * 20), "not a number from 0 to 1"),
    "too few patients": (with_rows(count=9), "9 patients and this run withholds scores of fewer than 10"),
    "other modality": (with_rows(modalities=("scan",)), "modalities ['scan']"),
    "no modality": (with_rows(modalities=()), "modalities []"),
    "other method": (with_rows(method="fuse"), "method 'fuse'"),
    "the same twice": (
        with_report(lambda report: report.model_copy(update={"scores": report.scores * 2})),
        "more than once",
    ),
    "validation score above 1": (with_choices(value=1.5), "not a number from 0 to 1"),
    "too few validation patients": (with_choices(count=9), "fewer than 10"),
    "choice on incomplete patients": (
        with_choices(patients="holding"),
        "a validation score of patients 'holding', where only complete ones can choose a model",
    ),
    "the same choice twice": (
        with_report(lambda report: report.model_copy(update={"validation": complete(report)[:1] * 2})),
        "more than once",
    ),
}  # fmt: skip

NUM_SITES = 8
ROUNDS = 5  # nothing happens in the last one


def in_turn(bad: Mapping[str, object]) -> dict[str, tuple[int, int]]:
    """Deal faults out to (site, round); the last site stays faithful."""
    return {name: (place % (NUM_SITES - 1), place // (NUM_SITES - 1) + 1) for place, name in enumerate(bad)}


def update_faults() -> Fault:
    by_place = {place: BAD_UPDATES[name][0] for name, place in in_turn(BAD_UPDATES).items()}

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if message.metadata.message_type != AskBlockUpdate.kind:
            return answer()
        question = AskBlockUpdate.read(read_letter(message))
        spoil = by_place.get((site, question.round))
        return answer() if spoil is None or question.score_only else spoil(message, answer)

    return fault


# ---- one run in which everything happens ---------------------------------------------------


@pytest.fixture(scope="module")
def spoilt(run: Run) -> Rehearsal:
    plan = clinics_only(f"[rounds]\nrounds = {ROUNDS}\npatience = 9", hospitals=NUM_SITES, patients=260)
    return run(plan, update_faults())


@pytest.mark.parametrize("name", BAD_UPDATES)
def test_bad_update_is_refused_by_name_with_its_reason(spoilt: Rehearsal, name: str) -> None:
    site, round_number = in_turn(BAD_UPDATES)[name]

    (left,) = spoilt.left_out(f"clinic-{site + 1}", round_number=round_number)

    assert BAD_UPDATES[name][1] in left.reason
    assert (left.phase, left.modality, left.declined) == ("blocks", "clinical", name == "declines")


def test_round_goes_on_with_the_others(spoilt: Rehearsal) -> None:
    assert spoilt.error is None
    assert spoilt.report.status == "complete-with-absences"
    for summary in spoilt.report.rounds:
        bad = {
            f"clinic-{site + 1}" for site, number in in_turn(BAD_UPDATES).values() if number == summary.round
        }
        assert len(summary.asked) == NUM_SITES
        assert set(summary.asked) - set(summary.answered) == bad


def test_sites_that_came_back_take_part_again(spoilt: Rehearsal) -> None:
    last = spoilt.report.rounds[-1]

    assert last.answered == last.asked


def test_no_bad_update_reaches_the_weights(run: Run) -> None:
    plan = clinics_only("[rounds]\nrounds = 1", hospitals=2, patients=60)

    poison = with_first(lambda t: t * torch.nan)
    poisoned, absent = (run(plan, at_sites({AskBlockUpdate: {1: spoil}})) for spoil in (poison, raising))

    before, after = absent.checkpoint(1, "clinical"), poisoned.checkpoint(1, "clinical")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_training_that_diverges_is_told_and_nothing_of_it_leaves(run: Run) -> None:
    changes = "[training]\nlearning-rate = 1e25\n[rounds]\nlocal-epochs = 3"

    ended = run(clinics_only(changes, hospitals=1, patients=60))

    (left,) = ended.report.left_out
    assert "values not finite. The letter was put aside; lower the learning rate" in left.reason
    assert "'clinical': 0 of 1 sites gave a usable answer" in ended.report.reason
    assert not ended.answered(Update)


# ---- reports that cannot be -----------------------------------------------------------------


@pytest.fixture(scope="module")
def misreported(run: Run) -> Rehearsal:
    bad = dict(enumerate(spoil for spoil, _ in BAD_REPORTS.values()))
    plan = clinics_only("[rounds]\nrounds = 1", hospitals=len(bad) + 1, patients=450)

    return run(plan, at_sites({AskReport: bad}))


@pytest.mark.parametrize("name", BAD_REPORTS)
def test_bad_report_is_refused_by_name_with_its_reason(misreported: Rehearsal, name: str) -> None:
    number = list(BAD_REPORTS).index(name) + 1

    (left,) = misreported.left_out(f"clinic-{number}")

    assert BAD_REPORTS[name][1] in left.reason
    assert left.phase == "evaluate"


def test_scores_are_those_of_the_faithful_site(misreported: Rehearsal) -> None:
    assert {score.sites for score in misreported.scores()} == {(f"clinic-{len(BAD_REPORTS) + 1}",)}


def test_run_whose_sites_all_misreport_fails_and_keeps_its_rounds(run: Run) -> None:
    plan = clinics_only("[rounds]\nrounds = 1", hospitals=1, patients=60)

    ended = run(plan, at_sites({AskReport: {0: raising}}))

    assert isinstance(ended.error, RunError)
    assert "No site could evaluate the models" in ended.report.reason
    assert ended.checkpoint(1, "clinical")


# ---- offers and sums that cannot be ----------------------------------------------------------


def with_offer(**changes: object) -> Spoil:
    return with_letter(lambda letter: Offer.read(letter).model_copy(update=changes).letter())


def with_encoder(offer: Offer, **changes: object) -> Offer:
    own = offer.modalities["clinical"]
    encoder = own.encoder.model_copy(update=changes)
    return offer.model_copy(update={"modalities": {"clinical": own.model_copy(update={"encoder": encoder})}})


BAD_OFFERS: dict[str, tuple[Spoil, str]] = {
    "raises": (raising, "the process of the site broke"),
    "silent": (silent, "did not answer within 0.5 seconds"),
    "another plan": (with_offer(plan="other"), "has read plan 'other' and this run follows 'tiny'"),
    "another latent contract": (
        with_offer(latent=LatentContract(num_latents=32)),
        "with latent.num-latents 32, and this run has 2; such blocks do not go together",
    ),
    "another encoder": (
        with_letter(lambda letter: with_encoder(Offer.read(letter), token_dim=99).letter()),
        "with clinical.encoder.token-dim 99, and this run has",
    ),
    "another's name": (with_offer(site="clinic-1"), "Two sites call themselves 'clinic-1'"),
    "nothing to offer": (with_offer(modalities={}), "holds none of the plan's modalities ['clinical']"),
    "newer protocol": (in_body("dialect", "2"), "key 'dialect': there is no such key"),
    "unfit name": (with_offer(site="../../x"), "key 'site'"),
}  # fmt: skip

BAD_SUMS: dict[str, tuple[Spoil, str]] = {
    "raises": (raising, "the process of the site broke"),
    "NaN": (with_tensors(lambda t: {**t, "total": t["total"] * torch.nan}), "'total' arrived with values"),
    "too short": (with_tensors(lambda t: {**t, "total": t["total"][:1]}), "arrived with the sizes"),
    "missing": (with_tensors(lambda t: {k: v for k, v in t.items() if k != "count"}), "the sizes"),
    "undeclared": (with_tensors(lambda t: {**t, "records": torch.ones(2)}), "the sizes"),
}  # fmt: skip


def site_of(name: str, bad: Mapping[str, object]) -> str:
    """The first site is faithful, those behind it offer badly, and the last ones sum badly."""
    before = 1 if bad is BAD_OFFERS else 1 + len(BAD_OFFERS)
    return f"clinic-{before + list(bad).index(name) + 1}"


@pytest.fixture(scope="module")
def ill_begun(run: Run) -> Rehearsal:
    offers = dict(enumerate((spoil for spoil, _ in BAD_OFFERS.values()), start=1))
    sums = dict(enumerate((spoil for spoil, _ in BAD_SUMS.values()), start=1 + len(offers)))
    num_sites = 1 + len(offers) + len(sums)
    changes = "[rounds]\nrounds = 1\n[participation]\nround-seconds = 0.5"
    plan = clinics_only(changes, hospitals=num_sites, patients=30 * num_sites)
    return run(plan, at_sites({AskOffer: offers, AskStatistics: sums}))


@pytest.mark.parametrize("name", BAD_OFFERS)
def test_bad_offer_is_refused_with_its_reason(ill_begun: Rehearsal, name: str) -> None:
    number = list(BAD_OFFERS).index(name)

    reasons = [left.reason for left in ill_begun.report.left_out if left.phase == "offer"]

    assert len(reasons) == len(BAD_OFFERS)
    assert BAD_OFFERS[name][1] in reasons[number]


@pytest.mark.parametrize("name", BAD_SUMS)
def test_bad_sum_is_refused_by_name_with_its_reason(ill_begun: Rehearsal, name: str) -> None:
    (left,) = ill_begun.left_out(site_of(name, BAD_SUMS), phase="agree")

    assert BAD_SUMS[name][1] in left.reason
    assert left.modality == "clinical"


def test_run_goes_on_with_the_sites_that_began_well(ill_begun: Rehearsal) -> None:
    assert ill_begun.error is None
    assert [summary.asked for summary in ill_begun.report.rounds] == [("clinic-1",)]


def test_site_that_miscounts_its_outcomes_is_not_counted(run: Run) -> None:
    few = with_tensors(lambda t: {name: one for name, one in t.items() if name != "counts"})

    ended = run(clinics_only(hospitals=2, patients=80), at_sites({AskOutcomes: {0: few}}))

    (left,) = ended.left_out("clinic-1")
    assert ended.error is None
    assert "arrived with the sizes" in left.reason
    assert left.phase == "agree"


def test_run_without_any_offer_fails_and_tells_the_reasons(run: Run) -> None:
    ended = run(clinics_only(hospitals=1, patients=40), at_sites({AskOffer: {0: raising}}))

    assert isinstance(ended.error, RunError)
    assert "None of 1 sites takes part in plan 'tiny'" in ended.report.reason
    assert "the process of the site broke" in ended.report.reason
    assert ended.report.status == "failed"


# ---- silence ---------------------------------------------------------------------------------


class LateGrid(ListeningGrid):
    """The first update of site 0 arrives only when the server asks for round 2, too late."""

    def __init__(self, sites: int, *, run_config: RunConfig, fault: Fault = answer_faithfully) -> None:
        super().__init__(sites, run_config=run_config, fault=fault)
        self._late: dict[str, Message] = {}
        self._was_late = False

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        messages = list(messages)
        asked = [read_letter(one) for one in messages if one.metadata.message_type == AskBlockUpdate.kind]
        if any(AskBlockUpdate.read(letter).round == 2 for letter in asked):
            self._replies |= self._late
            self._late = {}
        ids = super().push_messages(messages)
        if asked and not self._was_late:
            self._was_late = True
            self._late = {ids[0]: self._replies.pop(ids[0])}
        return ids


@pytest.fixture(scope="module")
def late(run: Run) -> Rehearsal:
    changes = "[rounds]\nrounds = 3\npatience = 9\n[participation]\nround-seconds = 3"
    return run(clinics_only(changes, hospitals=2, patients=80), grid=LateGrid)


def test_site_that_does_not_answer_is_waited_for_no_longer_than_the_plan_says(late: Rehearsal) -> None:
    (left,) = late.left_out("clinic-1", round_number=1)

    assert left.reason == "The site did not answer within 3 seconds."


def test_busy_site_is_not_asked_again(late: Rehearsal) -> None:
    (left,) = late.left_out("clinic-1", round_number=2)

    assert left.reason == "The site is still busy with an earlier question."


def test_late_site_is_asked_again_once_its_answer_came(late: Rehearsal) -> None:
    assert [summary.answered for summary in late.report.rounds] == [
        ("clinic-2",),
        ("clinic-2",),
        ("clinic-1", "clinic-2"),
    ]


def test_absent_site_is_waited_for_and_then_done_without(run: Run) -> None:
    plan = clinics_only("[rounds]\nrounds = 1", hospitals=2, patients=80)

    ended = run(plan, sites=1)

    assert ended.error is None
    assert [one.site for one in ended.report.sites] == ["clinic-1"]


def test_site_that_left_before_it_was_asked_is_told(run: Run) -> None:
    plan = clinics_only("[rounds]\nrounds = 1", hospitals=2, patients=80)

    class OneLeft(ListeningGrid):
        def push_messages(self, messages: Iterable[Message]) -> list[str]:
            gone = self.contexts[1].node_id
            there = [
                one
                for one in messages
                if one.metadata.dst_node_id != gone or one.metadata.message_type != AskBlockUpdate.kind
            ]
            return super().push_messages(there)

    ended = run(plan, grid=OneLeft)

    assert ended.error is None
    assert ended.report.rounds[0].answered == ("clinic-1",)
    assert "could not hand the question" in ended.left_out("clinic-2", phase="blocks")[0].reason


def test_nobody_there_is_told(run: Run) -> None:
    plan = clinics_only("[rounds]\nrounds = 1", hospitals=1, patients=40)

    class NobodyThere(ListeningGrid):
        def get_node_ids(self) -> list[int]:
            return []

    ended = run(plan, grid=NobodyThere)

    assert isinstance(ended.error, RunError)
    assert "None of 0 sites takes part" in ended.report.reason


# ---- below the smallest group ------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken_off(run: Run) -> Rehearsal:
    plan = tiny_plan("[rounds]\nrounds = 4\n[participation]\nsmallest-group = 1")

    def fault(site: int, message: Message, answer: Answer) -> Message | None:
        if message.metadata.message_type == AskBlockUpdate.kind:
            question = AskBlockUpdate.read(read_letter(message))
            if question.modality == "blood" and question.round == 3:
                raise ValueError("the power went off")
        return answer()

    return run(plan, fault)


def test_run_ends_when_a_group_falls_below_its_smallest_size(broken_off: Rehearsal) -> None:
    assert isinstance(broken_off.error, RunError)
    assert "Round 3, 'blood': 0 of 1 sites gave a usable answer" in broken_off.error.public


def test_failed_run_leaves_a_report(broken_off: Rehearsal) -> None:
    assert broken_off.report.status == "failed"
    assert broken_off.report.reason == broken_off.error.public  # type: ignore[union-attr]
    assert len(broken_off.report.rounds) == 4  # two rounds of two blocks
    assert "the power went off" in broken_off.left_out("lab")[0].reason
    assert (broken_off.output / "report.html").is_file()
    assert broken_off.events[-1]["status"] == "failed"


def test_finished_rounds_stay_on_the_disk(broken_off: Rehearsal) -> None:
    state = broken_off.checkpoint(2, "blood")

    assert all(tensor.isfinite().all() for tensor in state.values())
    assert not list((broken_off.output / "checkpoints").glob("*-blocks-round-003"))
    assert not (broken_off.output / "bundle").exists()


def test_too_few_sites_at_the_start_are_told_before_any_training(run: Run) -> None:
    ended = run(clinics_only("[participation]\nsmallest-group = 3", hospitals=2, patients=60))

    assert isinstance(ended.error, RunError)
    assert "Modality 'clinical' has 2 sites that can train it" in ended.error.public
    assert not ended.report.rounds


def test_misfits_count_for_the_smallest_group(run: Run) -> None:
    plan = clinics_only("[participation]\nsmallest-group = 2", hospitals=2, patients=60)

    ended = run(plan, at_sites({AskStatistics: {0: raising}}))

    assert "Modality 'clinical' has 1 sites that can train it" in ended.report.reason


def test_plan_with_fuse_rounds_and_no_paired_patients_is_told(run: Run) -> None:
    ended = run(clinics_only("[fuse]\nrounds = 1\n[rounds]\nrounds = 1", hospitals=1, patients=40))

    assert isinstance(ended.error, RunError)
    assert "no site has training patients with several modalities" in ended.error.public
