"""The only file that calls Flower's Grid: send questions, wait with a bound, sort the answers."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from lego_core.errors import LegoError, ProtocolError
from lego_core.letters import Letter
from lego_core.protocol import Refusal
from server.run_log import RunLog

POLL_SECONDS = 0.1
SAY_EVERY_SECONDS = 5.0
NOBODY = 0  # no node of Flower has this number
NOT_BACK = "The site is not asked: it did not come back as it was before the run was resumed."
NOT_TAKEN = "Flower could not hand the question to the site: it has left, or the message is too large."
UNREADABLE = (KeyError, TypeError, ValueError, EOFError, MemoryError)  # what Flower and numpy say to junk


@dataclass(frozen=True, slots=True)
class Question:
    """A letter for one site."""

    node_id: int
    site: str
    letter: Letter
    about: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a letter, or the reason why there is none."""

    question: Question
    letter: Letter | None
    reason: str = ""
    declined: bool = False
    budget_spent: bool = False


@final
@dataclass
class Exchange:
    """Ask many sites at once; every wait ends.

    A site that has not finished an earlier question is not asked another one: it would work
    through stale questions one by one and never catch up.

    Args:
        grid: Flower's connection to the sites.
        log: Where waiting is written down.
    """

    grid: Grid
    log: RunLog
    _unanswered: dict[int, list[str]] = field(default_factory=dict)

    def node_ids(self) -> list[int]:
        """Flower's numbers of the sites that are there now."""
        return sorted(self.grid.get_node_ids())

    def ask(
        self, questions: Sequence[Question], *, timeout_seconds: float, doing: Mapping[str, object]
    ) -> list[Answer]:
        """Send all questions, wait for the answers, and give one Answer for each question, in order.

        Args:
            questions: Any number per site, of any kind.
            timeout_seconds: When to stop waiting.
            doing: Phase and round, for the log.
        """
        self._collect_stragglers()
        busy = [question for question in questions if question.node_id in self._unanswered]
        there = [one for one in questions if one not in busy and one.node_id != NOBODY]
        if there:
            sites = sorted({question.site for question in there})
            self.log.write("asked", {**doing, "sites": sites, "limit_seconds": timeout_seconds})
        sent = self._send(there, timeout_seconds)
        answers = {
            id(question): Answer(question, None, NOT_BACK if question.node_id == NOBODY else NOT_TAKEN)
            for question in questions
        }
        answers |= self._wait(sent, timeout_seconds, doing)
        answers |= {
            id(question): Answer(question, None, "The site is still busy with an earlier question.")
            for question in busy
        }
        return [answers[id(question)] for question in questions]

    def _send(self, questions: Sequence[Question], ttl: float) -> dict[str, Question]:
        """Send one by one: of several, Flower does not say for certain which it did not take."""
        sent: dict[str, Question] = {}
        for q in questions:
            message = Message(
                _to_records(q.letter), dst_node_id=q.node_id, message_type=q.letter.kind, ttl=ttl
            )
            sent |= {taken: q for taken in self.grid.push_messages([message]) if taken}
        return sent

    def _wait(
        self, sent: Mapping[str, Question], timeout_seconds: float, doing: Mapping[str, object]
    ) -> dict[int, Answer]:
        open_questions = dict(sent)
        answers: dict[int, Answer] = {}
        start = said = time.monotonic()
        while open_questions:
            heard = set()
            for reply in self.grid.pull_messages(list(open_questions)):
                question = open_questions.pop(reply.metadata.reply_to_message_id)
                answers[id(question)] = _sort(question, reply)
                heard.add(question.site)
            now = time.monotonic()
            waiting_for = sorted({question.site for question in open_questions.values()})
            if heard:
                told = {"sites": sorted(heard), "for": waiting_for, "seconds": round(now - start, 3)}
                self.log.write("heard", {**doing, **told})
            if now - start > timeout_seconds:
                break
            if open_questions and now - said > SAY_EVERY_SECONDS:
                said = now
                waited = {"seconds": round(now - start), "limit_seconds": timeout_seconds}
                self.log.write("waiting", {**doing, "for": waiting_for, **waited})
            if open_questions:
                time.sleep(POLL_SECONDS)
        for message_id, question in open_questions.items():
            self._unanswered.setdefault(question.node_id, []).append(message_id)
            reason = f"The site did not answer within {timeout_seconds:g} seconds."
            answers[id(question)] = Answer(question, None, reason)
        return answers

    def _collect_stragglers(self) -> None:
        """Forget questions that were answered, too late to be of use, or that Flower gave up."""
        for node_id, ids in list(self._unanswered.items()):
            late = {reply.metadata.reply_to_message_id for reply in self.grid.pull_messages(ids)}
            left = [message_id for message_id in ids if message_id not in late]
            if left:
                self._unanswered[node_id] = left
            else:
                del self._unanswered[node_id]


def _sort(question: Question, reply: Message) -> Answer:
    if reply.has_error():
        return Answer(question, None, f"Flower reports for the site: {reply.error.reason}")
    try:
        letter = _from_records(reply.content)
        if letter.kind == Refusal.kind:
            refusal = Refusal.read(letter)
            return Answer(question, None, refusal.public, refusal.declined, refusal.budget_spent)
    except LegoError as error:
        return Answer(question, None, error.public)
    return Answer(question, letter)


def _to_records(letter: Letter) -> RecordDict:
    plain = ConfigRecord({"kind": letter.kind, "body": letter.body})
    return RecordDict({"letter": plain, "tensors": ArrayRecord(dict(letter.tensors))})


def _from_records(content: RecordDict) -> Letter:
    if set(content) != {"letter", "tensors"}:
        raise ProtocolError(
            f"The site sent records {sorted(content)} where 'letter' and 'tensors' were expected. Run the "
            "same code at both ends."
        )
    try:
        plain = content.config_records["letter"]
        tensors = content.array_records["tensors"].to_torch_state_dict()
        return Letter(str(plain["kind"]), str(plain["body"]), tensors)
    except UNREADABLE as error:
        raise ProtocolError(
            "The site sent a letter that cannot be read. Run the same code at both ends.", local=repr(error)
        ) from error
