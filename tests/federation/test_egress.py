"""Only what was declared before training leaves a site: names, shapes, types; nothing a batch left behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp
from rehearsal import Rehearsal, Run
from summing_plans import CLINICS, TEACHING, summing_plan
from test_gate import ask
from tiny_plans import clinics_only, tiny_plan
from torch import Tensor
from typer.testing import CliRunner

from client.gate import gate
from client.records import reply_with
from lego_core import egress
from lego_core.egress import Contract, contract_of, update_contract
from lego_core.errors import ProtocolError
from lego_core.exchangeable import exchanged
from lego_core.letters import Letter
from lego_core.parcel_letters import AskPiece, Piece
from lego_core.plan import RunPlan
from lego_core.protocol import (
    ANSWERS,
    CARRY_TENSORS,
    QUESTIONS,
    AskBlockUpdate,
    AskFuseUpdate,
    AskGrams,
    AskOutcomes,
    AskReport,
    AskStatistics,
    Grams,
    Outcomes,
    Progress,
    Refusal,
    Statistics,
    Update,
)
from lego_core.sum_letters import MaskedVectors
from simulations.cli import app
from simulations.egress import all_that_may_leave, schemas_of

FUSE_AND_REGMEAN = '[fuse]\nrounds = 1\n[merging.heads]\nkind = "regmean"\n[training]\nbatch-size = 16\n'
SITE = 0


@pytest.fixture(scope="module")
def ended(run: Run) -> Rehearsal:
    return run(tiny_plan(FUSE_AND_REGMEAN))


@pytest.fixture(scope="module")
def summed(run: Run) -> Rehearsal:
    return run(summing_plan(changes="[rounds]\nrounds = 1"))


def contracts(ended: Rehearsal) -> list[tuple[Contract, Letter]]:
    """Every question of a run as a contract, with the letter that answered it."""
    asked = {(one.message.metadata.message_id): one for one in ended.wire.asked}
    return [
        (contract_of(asked[one.message.metadata.reply_to_message_id].letter, lambda: ended.plan), one.letter)
        for one in ended.wire.answered
    ]


# ---- the contract of a run --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ended", "summed"])
def test_all_that_a_run_sent_was_declared_with_name_shape_and_type(
    name: str, request: pytest.FixtureRequest
) -> None:
    pairs = contracts(request.getfixturevalue(name))

    kinds = {letter.kind for _, letter in pairs if letter.tensors}
    in_the_open = CARRY_TENSORS - {MaskedVectors.kind, Piece.kind}  # pieces are of larger models
    assert kinds == ({MaskedVectors.kind} if name == "summed" else in_the_open)
    for contract, letter in pairs:
        contract.check(letter, sender="The site")
        sent = {one: (tensor.shape, tensor.dtype) for one, tensor in letter.tensors.items()}
        assert sent == dict(contract.tensors)


def test_every_question_has_a_contract() -> None:
    without = set(egress.WITHOUT_NUMBERS)
    with_numbers = {AskStatistics, AskOutcomes, AskBlockUpdate, AskFuseUpdate, AskGrams, AskReport, AskPiece}

    assert without | with_numbers == set(QUESTIONS)
    assert {kind.kind for kind in ANSWERS} >= set(egress.LARGEST_BODY)


def test_making_a_contract_draws_no_random_numbers(ended: Rehearsal) -> None:
    before = torch.get_rng_state()

    for one in ended.wire.asked:
        contract_of(one.letter, lambda: ended.plan)

    assert torch.equal(torch.get_rng_state(), before)


def test_no_declared_shape_knows_how_many_patients_a_site_has(ended: Rehearsal) -> None:
    questions = [one.letter for one in ended.asked(AskBlockUpdate, site=SITE)]

    shapes = [contract_of(one, lambda: ended.plan).tensors for one in questions]

    counts = {
        len(ended.patients(SITE)),
        *(len(ended.patients(SITE).part(p)) for p in ("train", "validation")),
    }
    assert not counts & {axis for tensors in shapes for shape, _ in tensors.values() for axis in shape}


def test_numbers_in_the_open_have_no_contract_where_the_plan_sums(summed: Rehearsal) -> None:
    question = summed.asked(AskStatistics, site=CLINICS[0])[0].letter
    contract = contract_of(question, lambda: summed.plan)
    features = len(AskStatistics.read(question).schema_of_group.features)
    sums = {name: torch.zeros(features, dtype=torch.float64) for name in ("count", "total", "total_squares")}

    with pytest.raises(ProtocolError, match="a letter 'statistics' where 'masked-vectors' was declared"):
        contract.check(Statistics(modality="clinical").letter(sums), sender="The site")


def test_vector_of_another_session_or_length_does_not_leave(summed: Rehearsal) -> None:
    question = summed.asked(AskFuseUpdate, site=TEACHING[0])[0].letter
    contract = contract_of(question, lambda: summed.plan)
    (sid, (shape, _)), *_ = contract.tensors.items()
    letter = MaskedVectors(signatures={})

    contract.check(letter.letter({sid: torch.zeros(shape, dtype=torch.int32)}), sender="The site")
    for name, size in (("00" * 32, shape[0]), (sid, shape[0] + 1)):
        with pytest.raises(ProtocolError, match="declared before training"):
            contract.check(letter.letter({name: torch.zeros(size, dtype=torch.int32)}), sender="The site")


# ---- at the door ------------------------------------------------------------------------------------------

Spoil = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def first(change: Callable[[Tensor], Tensor]) -> Spoil:
    def spoil(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = next(name for name in sorted(tensors) if tensors[name].numel())
        return {**tensors, name: change(tensors[name])}

    return spoil


SPOILT: dict[str, tuple[Spoil, str]] = {
    "another tensor": (
        lambda t: {**t, "latents-of-SECRET": torch.ones(37, 4)},
        "1 were not declared before training, and 0 of the",
    ),
    "renamed": (lambda t: {f"{name}-SECRET": one for name, one in t.items()}, "were not declared before"),
    "one missing": (lambda t: dict(list(t.items())[1:]), "0 were not declared before training, and 1 of the"),
    "a row per patient": (first(lambda one: one.expand(37, *one.shape).clone()), "in another shape or type"),
    "another type": (first(lambda one: one.half()), "in another shape or type than the"),
    "not a number": (first(lambda one: one * torch.nan), "values not finite"),
    "infinite": (first(lambda one: one + torch.inf), "values not finite"),
}
ANSWERED = {AskStatistics: Statistics, AskOutcomes: Outcomes, AskBlockUpdate: Update, AskGrams: Grams}


def knock_with(question: Letter, answer: Letter, sites: Path) -> tuple[Letter, bytes]:
    """Ask a site whose code answers this, whatever it is asked."""
    app = ClientApp(mods=[gate])

    def handler(message: Message, context: object) -> Message:
        return reply_with(answer, message)

    for name in ("offer", "statistics", "outcomes", "grams"):
        app.query(name)(handler)
    app.train("block")(handler)
    return ask(app, sites, letter=question)


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("kind", ANSWERED, ids=lambda kind: kind.kind)
def test_door_stops_tensors_that_were_not_declared(kind: type[Any], spoilt: str, ended: Rehearsal) -> None:
    change, sentence = SPOILT[spoilt]
    question = ended.asked(kind, site=SITE)[0].letter
    honest = ended.answered(ANSWERED[kind], site=SITE)[0].letter
    through, _ = knock_with(question, honest, ended.sites)

    spoilt_letter = Letter(honest.kind, honest.body, change(dict(honest.tensors)))
    letter, sent = knock_with(question, spoilt_letter, ended.sites)

    assert through.kind == honest.kind
    assert sentence in Refusal.read(letter).public
    assert not letter.tensors
    assert b"SECRET" not in sent
    assert "37" not in Refusal.read(letter).public
    if "SECRET" in str(change(dict(honest.tensors)).keys()):
        assert "SECRET" in ended.local_log(SITE)


def test_door_lets_no_letter_answer_another_question(ended: Rehearsal) -> None:
    question = ended.asked(AskOutcomes, site=SITE)[0].letter
    update = ended.answered(Update, site=SITE)[0].letter

    letter, _ = knock_with(question, update, ended.sites)

    said = Refusal.read(letter).public
    assert said.startswith("The site would send a letter 'update' where 'outcomes' was declared. Nothing was")


def test_update_does_not_answer_where_only_a_score_was_asked_for(ended: Rehearsal) -> None:
    asked = ended.asked(AskBlockUpdate, site=SITE)[0].letter
    question = AskBlockUpdate.read(asked).model_copy(update={"score_only": True}).letter(asked.tensors)

    letter, _ = knock_with(question, ended.answered(Update, site=SITE)[0].letter, ended.sites)

    assert "a letter 'update' where 'progress' was declared" in Refusal.read(letter).public


def test_letter_that_is_too_long_stays() -> None:
    contract = Contract(Progress.kind)
    limit = egress.LARGEST_OTHER_BODY
    contract.check(Letter(Progress.kind, " " * limit), sender="The site")

    with pytest.raises(
        ProtocolError, match=f"of {limit + 1} bytes besides its tensors, and {limit} may leave"
    ):
        contract.check(Letter(Progress.kind, " " * (limit + 1)), sender="The site")


# ---- the list, before a run ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ended", "summed"])
def test_list_before_the_run_is_what_a_site_of_all_modalities_sends_in_it(
    name: str, request: pytest.FixtureRequest
) -> None:
    ended = request.getfixturevalue(name)
    schemas = schemas_of(ended.plan, site_file=ended.sites / "site-3" / "site.toml", data=None)

    listed = all_that_may_leave(ended.plan, schemas_of(ended.plan, site_file=None, data=None))

    assert set(schemas) <= set(ended.plan.modalities)
    wanted = {(one.shape, one.dtype) for one in listed}
    sent = {
        (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for one in ended.wire.answered
        for tensor in one.letter.tensors.values()
    }
    scores = {(form.dim,) for question in ended.asked(AskBlockUpdate)
              for form in egress.forms_of(AskBlockUpdate.read(question.letter), ended.plan)}  # fmt: skip
    assert sent
    assert {one for one in sent - wanted if one[0] not in scores} == set()


def test_updates_that_may_travel_alone_are_listed_as_they_would_leave() -> None:
    noise = "epsilon = 3\nnoise-multiplier = 2\nbatch-size = 8\nsteps = 2"
    privacy = f"kind = 'secure-sum'\ntoo-few = 'patient-dp'\nalone = ['blood']\n[privacy.patient-dp]\n{noise}"
    plan = tiny_plan(f"[training]\nkeep = 'last'\n[privacy]\n{privacy}")

    listed = list(all_that_may_leave(plan, schemas_of(plan, site_file=None, data=None)))

    alone = {one.about for one in listed if one.letter == Update.kind}
    assert alone == {"block 'blood'"}


def test_command_lists_tensors_and_what_they_reveal() -> None:
    said = CliRunner().invoke(app, ["egress", "two-hospitals"])

    assert said.exit_code == 0
    for words in (
        "statistics",
        "total_squares",
        "float64",
        "update. Reveals to the server: what the privacy plan",
    ):
        assert words in said.output


# ---- patients in the state of a model --------------------------------------------------------------------


def leaky_plan(name: str, *, privacy: str = "") -> RunPlan:
    plain = clinics_only("[rounds]\nrounds = 1\n" + privacy, hospitals=3, patients=180).to_plain()
    plain["modalities"]["clinical"]["encoder"] = {"kind": "module", "source": f"leaky:{name}"}
    return RunPlan.model_validate(plain)


LEAKS = {
    "Grows": "in another shape or type than the",
    "Appears": "1 were not declared before training",
    "Waits": "which is neither a weight nor the running mean or variance of a normalisation layer",
}


@pytest.mark.parametrize("name", LEAKS)
@pytest.mark.parametrize("privacy", ["", '[privacy]\nkind = "secure-sum"'], ids=["open", "summed"])
def test_latents_of_a_batch_in_the_state_of_a_model_do_not_leave(name: str, privacy: str, run: Run) -> None:
    ended = run(leaky_plan(name, privacy=privacy))

    assert ended.error is not None
    said = {left.reason for left in ended.report.left_out if left.phase == "blocks"}
    assert said
    assert all(LEAKS[name] in reason for reason in said), said
    assert not ended.answered(Update)
    assert not any("latents" in tensor for one in ended.wire.answered for tensor in one.letter.tensors)


def test_door_alone_stops_what_the_training_let_through(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(model: Any, dtype: Any = None) -> Contract:
        return Contract(Update.kind, may_lack=True)

    monkeypatch.setattr("client.local_training.update_contract", careless)
    monkeypatch.setattr(Contract, "check", _unless_made_by(careless))

    ended = run(leaky_plan("Appears"))

    said = {left.reason for left in ended.report.left_out if left.phase == "blocks"}
    assert said
    assert all(reason.startswith("The site would send") and LEAKS["Appears"] in reason for reason in said)


def _unless_made_by(careless: Callable[[Any], Contract]) -> Callable[..., None]:
    """The check, passed over for the contract that a careless training made."""
    check = Contract.check

    def checked(self: Contract, letter: Letter, *, sender: str) -> None:
        if self != careless(None):
            check(self, letter, sender=sender)

    return checked


def test_running_statistics_of_a_normalisation_layer_leave(run: Run) -> None:
    ended = run(leaky_plan("Normalises"))

    assert ended.error is None
    names = {name for one in ended.answered(Update) for name in one.letter.tensors}
    assert any(name.endswith("running_mean") for name in names)


def test_constants_of_a_model_are_those_that_are_neither_weights_nor_running_statistics(
    ended: Rehearsal,
) -> None:
    fused = ended.bundle.models.fused
    assert fused is not None

    contract = update_contract(fused)

    assert contract.tensors.keys() == exchanged(fused).keys()
    assert not contract.constants & dict(fused.named_parameters()).keys()
