"""The last door of a site: only declared letters and public text go out, and none unrecorded.

Flower sends `str(error)` of whatever a site raises to the server. So nothing raises past this
door: an error of ours leaves as its public text, any other as an incident number, and the
rest is written to the site's own log. The one place where a broad `except` is right.
"""

import logging
import time
import traceback
import uuid
from contextlib import suppress

from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from client.audit import note_answer, note_refusal
from client.records import parcel_in, read_letter, reply_with
from client.site import local_log, plan_of
from client.spool import Spool
from lego_core.egress import contract_of
from lego_core.errors import BudgetSpent, LegoError, ProtocolError, SiteRefusal
from lego_core.letters import Letter
from lego_core.protocol import ANSWERS, CARRY_TENSORS, Refusal


def gate(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Let an answer out if it has a declared form; otherwise say in public words what happened."""
    try:
        answer = call_next(message, context)
        letter = _declared(answer, message, context)
        note_answer(letter, question=message, context=context)
        parcel = parcel_in(answer)
        if parcel is not None:
            Spool.of(context).let_out(parcel)
    except LegoError as error:
        _write_incident(context, error.public, f"{error.local}\n{traceback.format_exc()}")
        refusal = Refusal(
            declined=isinstance(error, SiteRefusal),
            public=error.public,
            budget_spent=isinstance(error, BudgetSpent),
        )
        return _refuse(message, context, refusal)
    except Exception:  # noqa: BLE001 - whatever it is, its text must not leave the site
        incident = uuid.uuid4().hex[:8]
        _write_incident(context, f"incident {incident}", traceback.format_exc())
        public = f"The site failed; its operator has the details in the site's log (incident {incident})."
        return _refuse(message, context, Refusal(declined=False, public=public))
    return answer


def _refuse(message: Message, context: Context, refusal: Refusal) -> Message:
    with suppress(Exception):  # it holds nothing of a patient, and the server must not wait in vain
        Spool.of(context).drop_drafts()
        note_refusal(refusal, question=message, context=context)
    return reply_with(refusal.letter(), message)


def _declared(answer: Message, message: Message, context: Context) -> Letter:
    letter = read_letter(answer, context)
    known = {kind.kind: kind for kind in ANSWERS}
    if letter.kind not in known:
        raise ProtocolError(
            f"A letter of kind '{letter.kind}' may not leave a site; declared are {sorted(known)}. "
            "Nothing was sent."
        )
    known[letter.kind].read(letter)
    if letter.tensors and letter.kind not in CARRY_TENSORS:
        raise ProtocolError(
            f"A letter of kind '{letter.kind}' may carry no tensors and carried {len(letter.tensors)}. "
            "Nothing was sent."
        )
    if letter.kind != Refusal.kind:
        contract_of(read_letter(message, context), lambda: plan_of(context)).check(letter, sender="The site")
    return letter


def _write_incident(context: Context, public: str, local: str) -> None:
    """Write to the site's log; where that cannot be, to the console of the site's node."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    try:
        log = local_log(context)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as lines:
            lines.write(f"{stamp} {public}\n{local}\n")
    except (OSError, KeyError):  # whatever raises here would reach the server
        logging.getLogger(__name__).exception("%s %s\n%s", stamp, public, local)
