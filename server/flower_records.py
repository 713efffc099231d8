"""Between our letters and Flower's records, at the server's end."""

from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from lego_core.errors import ProtocolError
from lego_core.letters import Letter
from lego_core.parcels import Parcel, from_plain, to_plain

UNREADABLE = (KeyError, TypeError, ValueError, EOFError, MemoryError)  # what Flower and numpy say to junk


def to_records(letter: Letter) -> RecordDict:
    """Write a letter in the form that Flower carries."""
    plain = ConfigRecord({"kind": letter.kind, "body": letter.body})
    if letter.parcel is not None:
        plain["parcel"] = letter.parcel.model_dump_json()
    tensors, halved = to_plain(letter.tensors)
    if halved:
        plain["bfloat16"] = halved
    return RecordDict({"letter": plain, "tensors": ArrayRecord(tensors)})


def from_records(content: RecordDict) -> Letter:
    """Read a letter that a site sent.

    Raises:
        ProtocolError: If there is none, or it cannot be read.
    """
    if set(content) != {"letter", "tensors"}:
        raise ProtocolError(
            f"The site sent records {sorted(content)} where 'letter' and 'tensors' were expected. Run the "
            "same code at both ends."
        )
    try:
        plain = content.config_records["letter"]
        tensors = content.array_records["tensors"].to_torch_state_dict()
        parcel = Parcel.model_validate_json(str(plain["parcel"])) if "parcel" in plain else None
        tensors = from_plain(tensors, [str(name) for name in plain.get("bfloat16", [])])  # type: ignore[union-attr]
        return Letter(str(plain["kind"]), str(plain["body"]), tensors, parcel)
    except UNREADABLE as error:
        raise ProtocolError(
            "The site sent a letter that cannot be read. Run the same code at both ends.", local=repr(error)
        ) from error
