"""Between our letters and Flower's records, at the site's end."""

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

from lego_core.errors import ProtocolError
from lego_core.letters import Letter


def read_letter(message: Message) -> Letter:
    """Take the letter out of a message.

    Raises:
        ProtocolError: If there is none in it.
    """
    content = message.content
    if set(content) != {"letter", "tensors"}:
        raise ProtocolError(
            f"A message with records {sorted(content)} came where 'letter' and 'tensors' were expected. "
            "Run the same code at both ends."
        )
    plain = content.config_records["letter"]
    tensors = content.array_records["tensors"].to_torch_state_dict()
    return Letter(str(plain["kind"]), str(plain["body"]), tensors)


def reply_with(letter: Letter, message: Message) -> Message:
    """Answer a message with a letter."""
    records = RecordDict(
        {
            "letter": ConfigRecord({"kind": letter.kind, "body": letter.body}),
            "tensors": ArrayRecord(dict(letter.tensors)),
        }
    )
    return Message(records, reply_to=message)
