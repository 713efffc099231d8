"""The only file that calls Flower's Grid: send questions, wait with a bound, sort the answers."""

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

from flwr.app import Message
from flwr.serverapp import Grid

from lego_core.errors import LegoError
from lego_core.letters import Letter
from lego_core.parcel_letters import DropParcels
from lego_core.protocol import Refusal
from server.conversation import Conversation
from server.flower_errors import BROKEN_OFF, GONE, NOT_TAKEN, sentence
from server.flower_records import from_records, to_records
from server.outstanding import Outstanding
from server.parcels import Pieces
from server.run_log import RunLog

SHORTEST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.1, 0.5
SEE_WHO_IS_BACK_SECONDS = 1.0
SAY_EVERY_SECONDS = 5.0
ASKED_AT_MOST = 3  # one letter, if the site is lost or breaks off over it
KEPT_FOR_WAITS = 3  # how many waits long Flower keeps a question, so that a slow site is seen to be busy
BUSY = "The site is still busy with an earlier question."
STILL_GONE = "The site was lost earlier in the run, and is not back."
NOBODY = 0  # no node of Flower has this number
NOT_BACK = "The site is not asked: it did not come back as it was before the run was resumed."


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

    A site that is lost while it is asked is asked again when it is back. One that has not finished an
    earlier question is not asked another one: it would never catch up.

    Args:
        grid: Flower's connection to the sites.
        log: Where waiting is written down.
        return_seconds: How long to wait for a site that was lost to come back, within a wait.
        pieces: How large tensors travel.
        holding: Sites that have pieces on their disks.
        gone: Sites that did not: nobody waits for them again, until they are there.
    """

    grid: Grid
    log: RunLog
    return_seconds: float = 0.0
    pieces: Pieces = field(default_factory=Pieces)
    gone: set[int] = field(default_factory=set)
    holding: dict[int, str] = field(default_factory=dict)

    @cached_property
    def _outstanding(self) -> Outstanding:
        return Outstanding(self.grid, self.log)

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
        self._outstanding.collect()
        if self.gone:
            self.gone.difference_update(self.node_ids())
        wait = _Wait(self, timeout_seconds, doing)
        for question in questions:
            if question.node_id == NOBODY:
                wait.settle(question, NOT_BACK)
            elif question.node_id in self._outstanding:
                wait.settle(question, BUSY)
            elif question.node_id in self.gone:
                wait.settle(question, STILL_GONE)
        there = [question for question in questions if id(question) not in wait.answers]
        if there:
            sites = sorted({question.site for question in there})
            self.log.write("asked", {**doing, "sites": sites, "limit_seconds": timeout_seconds})
        for question in there:
            wait.begin(question, self._talk(question, doing))
        wait.run()
        for message_id, leg in wait.unanswered.items():
            self._outstanding.add(
                message_id,
                node_id=leg.question.node_id,
                site=leg.question.site,
                expires=wait.started + KEPT_FOR_WAITS * timeout_seconds,
            )
        return [wait.answers[id(question)] for question in questions]

    def drop_pieces(self, *, timeout_seconds: float = 60.0) -> None:
        """Tell every site that was sent pieces that they are of no more use."""
        held, self.holding = dict(self.holding), {}
        there = set(self.node_ids()) if held else set()
        questions = [
            Question(node, held[node], DropParcels().letter()) for node in sorted(there & held.keys())
        ]
        for answer in self.ask(
            questions, timeout_seconds=timeout_seconds, doing={"phase": "end", "round": 0}
        ):
            if answer.letter is None:
                self.log.write("pieces-left", {"site": answer.question.site, "reason": answer.reason})

    def _talk(self, question: Question, doing: Mapping[str, object]) -> Conversation:
        """What is said about a question."""
        said = [time.monotonic()]

        def say(direction: str, done: int, total: int) -> None:
            self.holding[question.node_id] = question.site
            if done == total or time.monotonic() - said[0] > SAY_EVERY_SECONDS:
                said[0] = time.monotonic()
                travelled = {"mebibytes": done // 2**20, "of_mebibytes": -(-total // 2**20)}
                self.log.write(
                    "travelling", {**doing, "site": question.site, "direction": direction, **travelled}
                )

        return self.pieces.talk(question.letter, about=f"{question.letter.kind} {question.about}", say=say)


@dataclass(frozen=True, slots=True, eq=False)
class _Leg:
    """One letter on its way in the conversation about a question.

    Args:
        question: What it is about.
        talk: The conversation.
        letter: The letter.
        asked: How often it was sent.
        lost_at: Since when its site has been gone.
        why: What Flower said then.
    """

    question: Question
    talk: Conversation
    letter: Letter
    asked: int = 0
    lost_at: float = 0.0
    why: str = ""


class _Wait:
    """One wait for the answers to some questions.

    Args:
        exchange: Whose.
        limit: How many seconds it may take.
        doing: Phase and round, for the log.
    """

    def __init__(self, exchange: Exchange, limit: float, doing: Mapping[str, object]) -> None:
        self.answers: dict[int, Answer] = {}
        self.unanswered: dict[str, _Leg] = {}
        self.started = self._said = self._looked = time.monotonic()
        self._exchange, self._grid, self._log = exchange, exchange.grid, exchange.log
        self._limit, self._doing = limit, doing
        self._lost: list[_Leg] = []

    def settle(self, question: Question, reason: str) -> None:
        """Give up on a question; what is still on its way for it comes too late."""
        self.answers.setdefault(id(question), Answer(question, None, reason))
        self._lost = [leg for leg in self._lost if leg.question is not question]

    def begin(self, question: Question, talk: Conversation) -> None:
        """Send the first letters of a conversation."""
        try:
            for letter in next(talk):
                self._send(_Leg(question, talk, letter))
        except LegoError as error:
            self.settle(question, error.public)

    def run(self) -> None:
        """Wait until every question has an answer or a reason, and no longer than the limit."""
        pause = SHORTEST_POLL_SECONDS
        while self._open or self._lost:
            replies = list(self._grid.pull_messages(list(self._open))) if self._open else []
            legs = [self.unanswered.pop(reply.metadata.reply_to_message_id) for reply in replies]
            for leg, reply in zip(legs, replies, strict=True):
                if id(leg.question) not in self.answers:  # else the conversation about it has ended
                    self._take(leg, reply)
            self._note_heard({leg.question.site for leg in legs if id(leg.question) in self.answers})
            if self._seconds > self._limit:
                break
            self._ask_again()
            self._say()
            if self._open or self._lost:
                pause = SHORTEST_POLL_SECONDS if replies else min(1.25 * pause, LONGEST_POLL_SECONDS)
                time.sleep(pause)
        for leg in (*self._open.values(), *self._lost):
            self.settle(leg.question, leg.why or f"The site did not answer within {self._limit:g} seconds.")

    @property
    def _open(self) -> dict[str, _Leg]:
        """The letters whose answers are still of use."""
        return {name: leg for name, leg in self.unanswered.items() if id(leg.question) not in self.answers}

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self.started

    def _send(self, leg: _Leg) -> None:
        """Send one by one: of several, Flower does not say for certain which it did not take."""
        message = Message(
            to_records(leg.letter),
            dst_node_id=leg.question.node_id,
            message_type=leg.letter.kind,
            ttl=KEPT_FOR_WAITS * self._limit - self._seconds,
        )
        taken = [one for one in self._grid.push_messages([message]) if one]
        if taken:
            self.unanswered[taken[0]] = replace(leg, asked=leg.asked + 1)
        elif leg.question.node_id in set(self._grid.get_node_ids()):
            self.settle(leg.question, NOT_TAKEN)
        else:
            self._lose(leg, NOT_TAKEN)

    def _take(self, leg: _Leg, reply: Message) -> None:
        if reply.has_error():
            code, why = reply.error.code, sentence(reply.error)
            if code not in GONE | BROKEN_OFF or leg.asked >= ASKED_AT_MOST:
                self.settle(leg.question, why)
            elif code in GONE:
                self._lose(leg, why)
            else:
                self._send_again(leg, why)
            return
        try:
            letter = from_records(reply.content)
            if letter.kind == Refusal.kind:
                refusal = Refusal.read(letter)
                self.answers[id(leg.question)] = Answer(
                    leg.question, None, refusal.public, refusal.declined, refusal.budget_spent
                )
                return
            for following in leg.talk.send(letter):
                self._send(_Leg(leg.question, leg.talk, following))
        except StopIteration as done:
            self.answers[id(leg.question)] = Answer(leg.question, done.value)
        except LegoError as error:
            self.settle(leg.question, error.public)

    def _lose(self, leg: _Leg, why: str) -> None:
        if self._exchange.return_seconds > 0:
            self._lost.append(replace(leg, lost_at=time.monotonic(), why=why))
        else:
            self.settle(leg.question, why)

    def _ask_again(self) -> None:
        """Ask sites that are back once more, and give up on those that have been gone for too long."""
        now = time.monotonic()
        if not self._lost or now - self._looked < SEE_WHO_IS_BACK_SECONDS:
            return
        self._looked, there = now, set(self._grid.get_node_ids())
        lost, self._lost = self._lost, []
        limit = self._exchange.return_seconds
        for leg in lost:
            if leg.question.node_id in there:
                self._send_again(leg, leg.why)
            elif now - leg.lost_at > limit:
                self._exchange.gone.add(leg.question.node_id)
                self.settle(leg.question, f"{leg.why} It was not back within {limit:g} seconds.")
            else:
                self._lost.append(leg)

    def _send_again(self, leg: _Leg, why: str) -> None:
        self._log.write("asked-again", {**self._doing, "site": leg.question.site, "reason": why})
        self._send(leg)

    def _note_heard(self, sites: Set[str]) -> None:
        if sites:
            told = {"sites": sorted(sites), "for": self._waiting_for, "seconds": round(self._seconds, 3)}
            self._log.write("heard", {**self._doing, **told})

    @property
    def _waiting_for(self) -> list[str]:
        return sorted({leg.question.site for leg in (*self._open.values(), *self._lost)})

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._said > SAY_EVERY_SECONDS:
            self._said = now
            waited = {"seconds": round(self._seconds), "limit_seconds": self._limit}
            self._log.write("waiting", {**self._doing, "for": self._waiting_for, **waited})
