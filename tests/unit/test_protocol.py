"""Letters: written down and read back, and refused in every form that was not declared."""

import json
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lego_core.encoders import Tabular
from lego_core.errors import ProtocolError
from lego_core.letters import AbstractMessage, Letter, check_tensors
from lego_core.parcel_letters import (
    AskHeld,
    AskPiece,
    DropParcels,
    Held,
    ParcelsDropped,
    Piece,
    PieceTaken,
    TakePiece,
)
from lego_core.parcels import Segment
from lego_core.protocol import (
    ANSWERS,
    CARRY_TENSORS,
    QUESTIONS,
    Agreement,
    AskBlockUpdate,
    AskFuseUpdate,
    AskGrams,
    AskOffer,
    AskOutcomes,
    AskReport,
    AskStatistics,
    ChartRow,
    Grams,
    ModalityOffer,
    Offer,
    Outcomes,
    Progress,
    Refusal,
    ScoreRow,
    SiteReport,
    Statistics,
    Update,
)
from lego_core.records import ModalitySchema
from lego_core.sum_letters import (
    AskSumConfirmations,
    AskSumKeys,
    AskSumOpening,
    AskSumShares,
    Invitation,
    MaskedVectors,
    SumConfirmations,
    SumKeys,
    SumOpening,
    SumSets,
    SumShares,
)
from lego_core.tasks import Classification, Survival
from lego_core.trunk import LatentContract

TABLE = ModalitySchema(layout="table", features=("age", "bili"))
IMAGE = ModalitySchema(layout="image", features=("grey",), grid=(4, 6))
AGREEMENT = Agreement(
    schemas={"clinical": TABLE, "scan": IMAGE}, task=Survival(num_bins=3, bin_edges_days=(10.5, 99.25))
)
ROW = ScoreRow(
    method="merge", modalities=("clinical", "scan"), patients="complete", count=12, value=0.7, pairs=31.0,
    resampled=((0.5, 3.0), (0.625, 4.0)),
)  # fmt: skip
CHART = ChartRow(
    method="block",
    modalities=("scan",),
    patients="holding",
    count=10,
    details={"events": None, "days": [1.5]},
)

SID = "0f" * 32
SEGMENT = Segment(sha256=SID, size=64, offset=0, length=32)
INVITED = Invitation(session=SID, sharing_sites=(1, 2, 3), sealed={1: b"\x00", 3: b"\xff"})

EXAMPLES: list[AbstractMessage] = [
    AskOffer(),
    AskStatistics(modality="scan", schema_of_group=IMAGE),
    AskOutcomes(sums={"outcomes": INVITED}, weights={"head": SID}),
    AskBlockUpdate(agreement=AGREEMENT, modality="clinical", round=3, to_the_end=True, score_only=True),
    AskFuseUpdate(
        agreement=Agreement(schemas={"clinical": TABLE}, task=Classification(classes=("no", "yes"))),
        modalities=("clinical",),
        round=1,
    ),
    AskGrams(agreement=AGREEMENT, modality="scan"),
    AskReport(agreement=AGREEMENT, modalities=("clinical", "scan"), with_fused=True),
    AskSumKeys(sessions=(b"{}", b"\x00\xff")),
    AskSumShares(bundles={SID: {1: b"\x00\xff", 2: b""}}),
    AskSumConfirmations(sets={SID: SumSets(sharing_sites=(1, 2, 3), survivors=(1, 3))}),
    AskSumOpening(confirmations={SID: {3: b"\x01"}}),
    AskHeld(about="train.block clinical", hashes=(SID,)),
    TakePiece(number=2, sha256=SID, segments=(SEGMENT,)),
    AskPiece(parcel=SID, offset=8, length=16),
    DropParcels(parcel=SID),
    Offer(
        site="east",
        plan="tiny",
        latent=LatentContract(num_latents=3),
        modalities={
            "clinical": ModalityOffer(schema_here=TABLE, encoder=Tabular(), patients=20, trains=True)
        },
        paired_patients=10,
        paired=True,
        test_groups=(("clinical",), ("clinical", "scan")),
    ),
    Statistics(modality="clinical"),
    Outcomes(),
    Progress(train_losses=(0.7, 0.5), validation_loss=13.25, validation_patients=20, seconds=0.125),
    Update(weight=40.0, progress=Progress(train_losses=(0.7,))),
    Grams(modality="scan"),
    SiteReport(scores=(ROW,), charts=(CHART,), withheld=3),
    Refusal(declined=True, public="Site 'east' declines."),
    SumKeys(bundles={SID: b"\x00\xff"}, declined={"1" * 64: "It is over."}),
    SumShares(sealed={SID: {2: b"\x80"}}),
    MaskedVectors(signatures={SID: b"\xfe"}),
    SumConfirmations(signatures={SID: b"\xfe"}),
    SumOpening(shares={SID: {1: b"\x01", 2: b"\x02"}}),
    Held(lacking=(SID,)),
    PieceTaken(number=2),
    Piece(offset=8, sha256=SID),
    ParcelsDropped(),
]


def by_name(message: AbstractMessage) -> str:
    return type(message).__name__


def test_every_message_has_an_example():
    assert [type(message) for message in EXAMPLES] == [*QUESTIONS, *ANSWERS]


@pytest.mark.parametrize("message", EXAMPLES, ids=by_name)
def test_message_is_read_as_it_was_written(message):
    tensors = {"x": torch.ones(2)}

    letter = message.letter(tensors)

    assert letter.kind == type(message).kind
    assert type(message).read(letter) == message
    assert letter.tensors is tensors


@pytest.mark.parametrize("message", EXAMPLES, ids=by_name)
def test_body_of_a_letter_is_plain_json(message):
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(message.letter().body, parse_constant=refuse)


@pytest.mark.parametrize("message", EXAMPLES, ids=by_name)
def test_key_of_a_newer_protocol_is_refused_by_name(message):
    letter = message.letter()
    plain = {**json.loads(letter.body), "dialect": 2}

    with pytest.raises(ProtocolError, match=f"^Letter '{letter.kind}': key 'dialect': there is no such key"):
        type(message).read(replace(letter, body=json.dumps(plain)))


@pytest.mark.parametrize("message", EXAMPLES, ids=by_name)
def test_letter_of_another_kind_is_refused(message):
    letter = message.letter()

    with pytest.raises(
        ProtocolError, match=f"^A letter of kind 'records' came where '{letter.kind}' was expected"
    ):
        type(message).read(replace(letter, kind="records"))


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"text"', "{}"])
def test_body_that_is_no_message_is_refused(body):
    with pytest.raises(ProtocolError, match=r"^Letter 'offer'"):
        Offer.read(Letter("offer", body))


def test_refusal_to_read_does_not_repeat_what_it_read():
    body = json.dumps({"weight": "PLANTED", "progress": {"seconds": "PLANTED"}})

    with pytest.raises(ProtocolError) as refused:
        Update.read(Letter("update", body))

    assert "PLANTED" not in refused.value.public


@given(st.floats(allow_nan=False, allow_infinity=False), st.lists(st.floats(allow_nan=False)))
def test_every_number_survives_the_wire(loss, losses):
    progress = Progress(train_losses=tuple(losses), validation_loss=loss)

    assert Progress.read(progress.letter()) == progress


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), 1e300])
def test_weight_that_no_hospital_has_is_refused(weight):
    letter = Letter("update", json.dumps({"weight": weight, "progress": {}}))

    with pytest.raises(ProtocolError, match=r"^Letter 'update': key 'weight'"):
        Update.read(letter)


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["validation_loss", "train_losses"])
def test_loss_that_is_not_finite_is_refused_by_name(key, loss):
    progress = Progress.model_validate({key: (0.5, loss) if key == "train_losses" else loss})

    with pytest.raises(ProtocolError, match=r"^Site 'east' sent a loss that is not finite\..*learning"):
        progress.check_finite(sender="Site 'east'")


def test_finite_losses_pass():
    Progress(train_losses=(0.7, 0.5), validation_loss=13.25).check_finite(sender="Site 'east'")


@pytest.mark.parametrize("name", ["../../etc", "", "a b", "-x", "<b>"])
def test_name_that_is_unfit_for_files_and_pages_is_refused(name):
    plain = {"site": name, "plan": "p", "modalities": {}, "paired_patients": 0, "paired": False}

    with pytest.raises(ProtocolError, match=r"^Letter 'offer': key 'site'"):
        Offer.read(Letter("offer", json.dumps(plain)))


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.__name__)
def test_every_answer_says_what_it_reveals(answer):
    assert re.search(r"Reveals (to the server:|the public text)", answer.__doc__)


def test_kinds_are_told_apart():
    kinds = [message.kind for message in (*QUESTIONS, *ANSWERS)]

    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch(r"(query|train|evaluate)\.[a-z_]+", question.kind) for question in QUESTIONS)
    assert {"statistics", "outcomes", "update", "grams", "masked-vectors", "piece"} == CARRY_TENSORS


# ---- tensors -------------------------------------------------------------------------------

DECLARED = {"a": (torch.Size([2]), torch.float32), "b": (torch.Size([]), torch.float64)}
GOOD = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3.0, dtype=torch.float64)}


def sent(**tensors: torch.Tensor) -> Letter:
    return Letter("update", "{}", {**GOOD, **tensors})


def test_declared_tensors_pass():
    check_tensors(sent(), DECLARED, sender="Site 'east'")


@pytest.mark.parametrize(
    ("letter", "sentence"),
    [
        (Letter("update", "{}", {"a": GOOD["a"]}), r"with tensors \['a'\] where \['a', 'b'\] were declared"),
        (sent(c=torch.ones(1)), r"with tensors \['a', 'b', 'c'\] where \['a', 'b'\] were declared"),
        (sent(a=torch.ones(3)), r"'a' of shape \(3,\) and type torch.float32 where \(2,\) and torch.float32"),
        (sent(a=torch.ones(2, 1)), r"'a' of shape \(2, 1\)"),
        (sent(a=torch.ones(2).double()), r"'a' of shape \(2,\) and type torch.float64"),
        (sent(a=torch.ones(2).long()), r"'a' of shape \(2,\) and type torch.int64"),
        (sent(a=torch.tensor([1.0, torch.nan])), "'a' with 1 of 2 values not finite"),
        (sent(b=torch.tensor(-torch.inf).double()), "'b' with 1 of 1 values not finite"),
    ],
)
def test_other_tensors_are_refused_by_name(letter, sentence):
    with pytest.raises(ProtocolError, match=f"^Site 'east' sent .*{sentence}"):
        check_tensors(letter, DECLARED, sender="Site 'east'")
