"""What left this site, and who had asked for it: one chained line per answer, beside `site.toml`.

Names and shapes, never values. A form is written out once and named by its hash from then on.
"""

import hashlib

from flwr.app import Context, Message

from client.site import local_log
from lego_core.chained_log import ChainedLog
from lego_core.letters import Letter
from lego_core.protocol import Refusal
from lego_core.signing import canonical_json

FORM, SENT, REFUSED = "form", "sent", "refused"


def note_answer(letter: Letter, *, question: Message, context: Context) -> None:
    """Write down an answer that is about to leave; it is on the disk when this returns.

    Raises:
        LogError: If it cannot be written, and so must not leave.
    """
    log = _open(context)
    tensors = {name: f"{one.dtype} {tuple(one.shape)}" for name, one in letter.tensors.items()}
    described = {"letter": letter.kind, "tensors": tensors}
    form = hashlib.sha256(canonical_json(described)).hexdigest()
    size = len(letter.body.encode()) + sum(one.nbytes for one in letter.tensors.values())
    with log.locked():
        if not any(one["event"] == FORM and one["form"] == form for one in log.events):
            log.append_locked(FORM, {"form": form, **described})
        log.append_locked(SENT, {**_asked(question), "letter": letter.kind, "form": form, "bytes": size})


def note_refusal(refusal: Refusal, *, question: Message, context: Context) -> None:
    """Write down a refusal, with the sentence that leaves.

    Raises:
        LogError: If it cannot be written.
    """
    said = {"declined": refusal.declined, "public": refusal.public}
    _open(context).append(REFUSED, {**_asked(question), **said})


def _asked(question: Message) -> dict[str, str | int]:
    told = question.metadata
    return {"run": str(told.run_id), "question": told.message_type, "asked_by": str(told.src_node_id)}


def _open(context: Context) -> ChainedLog:
    return ChainedLog(local_log(context).with_name("audit.jsonl"))
