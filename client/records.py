"""Between our letters and Flower's records, at the site's end; large tensors lie on the site's disk."""

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from pydantic import ValidationError

from client.spool import Spool
from lego_core import parcels
from lego_core.errors import ProtocolError
from lego_core.letters import Letter
from lego_core.parcels import Parcel, from_plain, to_plain


def read_letter(message: Message, context: Context | None = None) -> Letter:
    """Take the letter out of a question, or out of an answer that this site is about to give.

    Args:
        message: The question, or the answer.
        context: Of the site, where its tensors may lie on the disk.

    Raises:
        ProtocolError: If there is none in it, or its tensors have not come.
    """
    content = message.content
    if set(content) != {"letter", "tensors"}:
        raise ProtocolError(
            f"A message with records {sorted(content)} came where 'letter' and 'tensors' were expected. "
            "Run the same code at both ends."
        )
    plain = content.config_records["letter"]
    parcel = parcel_in(message)
    if parcel is None or context is None:
        tensors = content.array_records["tensors"].to_torch_state_dict()
        tensors = from_plain(tensors, [str(name) for name in plain.get("bfloat16", [])])  # type: ignore[union-attr]
    elif message.metadata.reply_to_message_id:
        tensors = Spool.of(context).open_draft(parcel)
    else:
        tensors = Spool.of(context).open_held(parcel)
    return Letter(str(plain["kind"]), str(plain["body"]), tensors)


def parcel_in(message: Message) -> Parcel | None:
    """What travels in pieces beside a message.

    Raises:
        ProtocolError: If its description cannot be read.
    """
    plain = message.content.config_records["letter"]
    if "parcel" not in plain:
        return None
    try:
        return Parcel.model_validate_json(str(plain["parcel"]))
    except ValidationError as error:
        raise ProtocolError(
            "The description of what travels in pieces cannot be read. Run the same code at both ends.",
            local=str(error),
        ) from error


def reply_with(letter: Letter, message: Message, context: Context | None = None) -> Message:
    """Answer a message with a letter; large tensors are put down as a draft, for the site's door to look at.

    Args:
        letter: The answer.
        message: The question.
        context: Of the site; without one everything travels in the message itself.
    """
    plain = ConfigRecord({"kind": letter.kind, "body": letter.body})
    tensors = letter.tensors
    if context is not None and parcels.nbytes(tensors) > parcels.LARGEST_MESSAGE:
        plain["parcel"] = Spool.of(context).draft(tensors).model_dump_json()
        tensors = {}
    tensors, halved = to_plain(tensors)
    if halved:
        plain["bfloat16"] = halved
    return Message(RecordDict({"letter": plain, "tensors": ArrayRecord(tensors)}), reply_to=message)
