"""One attempt at several secure sums: keys, shares, vectors, confirmations, opening.

A site is asked once per leg for all of its sums. Whoever is absent or answers wrongly is left out
by name; where too few are left, that sum stays closed and the others go on.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, final

import numpy as np
import torch

from lego_core.errors import LegoError, SecureSumError
from lego_core.letters import AbstractMessage, Letter, check_tensors
from lego_core.privacy.fsa1.memory import MaskedVector
from lego_core.privacy.fsa1.server import ServerSession
from lego_core.run_report import LeftOut, Phase
from lego_core.sum_forms import SumForm
from lego_core.sum_letters import (
    AbstractSumAnswer,
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
from server.ask_each import ask_each
from server.asked import Asked, Opened
from server.exchange import Answer, Exchange, Question
from server.running_sums import RunningSums

OPENINGS = 3  # of a sum that is confirmed: sites give the same shares again

AnyAnswer = TypeVar("AnyAnswer", bound=AbstractSumAnswer)
Shares = dict[str, dict[int, Mapping[int, bytes]]]  # who handed out, of whom, which share, by sum


@final
class SumAttempt:
    """Several sums, from the keys to the opening.

    Args:
        sessions: One for each sum, by its name.
        forms: What is summed, likewise.
        asked: All questions.
        exchange: How to reach the sites.
        wait_seconds: How long to wait for the answers of a leg.
        phase: For the diary.
        round_number: Likewise.
    """

    def __init__(
        self,
        sessions: Mapping[str, ServerSession],
        forms: Mapping[str, SumForm],
        asked: Sequence[Asked],
        *,
        exchange: Exchange,
        wait_seconds: float,
        phase: Phase,
        round_number: int,
    ) -> None:
        self.confirmed: set[str] = set()
        self._sums = RunningSums(sessions, leave_out=self._leave_out)
        self._forms, self._asked = forms, asked
        self._exchange, self._wait_seconds = exchange, wait_seconds
        self._phase: Phase = phase
        self._round_number = round_number
        self._members = {one.member.site: one.member for one in asked}

    @property
    def closed(self) -> dict[str, str]:
        """Why sums stay closed, by name."""
        return self._sums.closed

    def run(self) -> dict[str, Opened]:
        """All five legs; a sum that fails in one is closed, and takes no part in the next."""
        self._exchange_keys()
        self._exchange_shares()
        self._gather_vectors()
        self._confirm()
        return self._open(self._gather_shares())

    def _exchange_keys(self) -> None:
        sessions = {site: self._sums.of(site) for site in self._members}
        questions = {
            site: AskSumKeys(sessions=tuple(one.described.packed() for one in own.values()))
            for site, own in sessions.items()
            if own
        }
        shown = {site: one.bundles for site, one in self._leg(questions, SumKeys).items()}
        for group, session in self._sums.going_on.items():
            bundles = self._sums.by_place(group, shown)
            self._sums.step(group, lambda session=session, bundles=bundles: session.take_keys(bundles))

    def _exchange_shares(self) -> None:
        questions = {}
        for site in self._members:
            bundles = {
                self._sums.sids[group]: session.bundles
                for group, session in self._sums.of(site).items()
                if session.described.places[site] in session.bundles
            }
            if bundles:
                questions[site] = AskSumShares(bundles=bundles)
        dealt = {site: one.sealed for site, one in self._leg(questions, SumShares).items()}
        for group, session in self._sums.going_on.items():
            sealed = self._sums.by_place(group, dealt)
            self._sums.step(group, lambda session=session, sealed=sealed: session.take_shares(sealed))

    def _gather_vectors(self) -> None:
        invited = [
            replace(one, question=one.question.model_copy(update={"sums": invitations}))
            for one in self._asked
            if (invitations := self._invitations(one))
        ]
        ask_each(
            self._exchange,
            invited,
            self._take_vectors,
            wait_seconds=self._wait_seconds,
            phase=self._phase,
            round_number=self._round_number,
        )
        for group, session in self._sums.going_on.items():
            self._sums.step(group, session.close)

    def _invitations(self, one: Asked) -> dict[str, Invitation]:
        invitations = {}
        for group, session in self._sums.of(one.member.site).items():
            place = session.described.places[one.member.site]
            if group in one.groups and place in session.sharing_sites:
                invitations[self._forms[group].group] = Invitation(
                    session=self._sums.sids[group],
                    sharing_sites=tuple(sorted(session.sharing_sites)),
                    sealed=session.sealed_for(place),
                )
        return invitations

    def _take_vectors(self, one: Asked, letter: Letter) -> None:
        """Add a site's masked vectors to the sums."""
        site, masked = one.member.site, MaskedVectors.read(letter)
        own = {self._sums.sids[group]: group for group in self._sums.of(site) if group in one.groups}
        signed = {sid: group for sid, group in own.items() if sid in masked.signatures}
        declared = {sid: (torch.Size([self._forms[group].dim]), torch.int32) for sid, group in signed.items()}
        check_tensors(letter, declared, sender=f"Site '{site}'")
        self._note_declined(site, masked)
        self._exchange.log.privacy_spent(site, masked.spent)
        for sid, group in signed.items():
            session = self._sums.going_on[group]
            vector = MaskedVector(letter.tensors[sid].numpy().view(np.uint32), masked.signatures[sid])
            place = session.described.places[site]
            self._sums.step(
                group,
                lambda session=session, place=place, vector=vector: session.take_masked(place, vector),
            )

    def _confirm(self) -> None:
        for group, session in self._sums.going_on.items():
            self._sums.step(group, lambda group=group, session=session: self._note_opening(group, session))
        questions = {}
        for site in self._members:
            sets = {
                self._sums.sids[group]: SumSets(
                    sharing_sites=tuple(sorted(session.sharing_sites)),
                    survivors=tuple(sorted(session.survivors)),
                )
                for group, session in self._sums.of(site).items()
                if session.described.places[site] in session.survivors
            }
            if sets:
                questions[site] = AskSumConfirmations(sets=sets)
        self.confirmed |= self._sums.going_on.keys()
        signatures = {site: one.signatures for site, one in self._leg(questions, SumConfirmations).items()}
        for group, session in self._sums.going_on.items():
            signed = self._sums.by_place(group, signatures)
            self._sums.step(group, lambda session=session, signed=signed: session.take_confirmations(signed))

    def _note_opening(self, group: str, session: ServerSession) -> None:
        """Write down whose sum sites are about to be asked to open; over fewer than before, ask nobody.

        Raises:
            SecureSumError: If it was to be opened with others, before the run was resumed.
        """
        described, log = session.described, self._exchange.log
        sites = [described.participants[place - 1] for place in sorted(session.survivors)]
        before = log.asked_to_open.get((group, described.model_sha256), frozenset())
        missing = sorted(before - set(sites))
        if missing:
            raise SecureSumError(
                f"Before the run was resumed, sites were asked to open the sum '{group}' with {missing} in "
                "it, and some may have signed: a second sum without them would show what they gave. It stays "
                "closed until they are back. Resume the run then; if they never come back, begin a new run "
                "from other weights (key seed of the plan)."
            )
        about = {"phase": self._phase, "round": self._round_number, "sum": group}
        log.write("opening-asked", {**about, "weights_sha256": described.model_sha256, "sites": sites})

    def _gather_shares(self) -> Shares:
        shares: Shares = {group: {} for group in self._sums.going_on}
        for _ in range(OPENINGS):
            questions = self._ask_for_shares(shares)
            if not questions:
                break
            handed_out = {site: one.shares for site, one in self._leg(questions, SumOpening).items()}
            for group in shares:
                shares[group] |= self._sums.by_place(group, handed_out)
        return shares

    def _ask_for_shares(self, shares: Shares) -> dict[str, AbstractMessage]:
        """Ask who confirmed and has not yet handed out, where the shares there are do not suffice."""
        questions: dict[str, AbstractMessage] = {}
        for site in self._members:
            signed = {
                self._sums.sids[group]: session.confirmations
                for group, session in self._sums.of(site).items()
                if session.described.places[site] in session.confirmations
                and session.described.places[site] not in shares[group]
                and not session.suffice(shares[group])
            }
            if signed:
                questions[site] = AskSumOpening(confirmations=signed)
        return questions

    def _open(self, shares: Shares) -> dict[str, Opened]:
        opened = {}
        for group, session in self._sums.going_on.items():

            def read(group: str = group, session: ServerSession = session) -> None:
                words, there = session.open(shares[group]), session.survivors
                numbers = self._forms[group].read(session.described, words, num_sites=len(there))
                sites = tuple(session.described.participants[place - 1] for place in sorted(there))
                opened[group] = Opened(numbers, sites, hashlib.sha256(words.tobytes()).hexdigest())

            self._sums.step(group, read)
        return opened

    # ---- what the legs have in common ------------------------------------------------------

    def _leg(self, questions: Mapping[str, AbstractMessage], kind: type[AnyAnswer]) -> dict[str, AnyAnswer]:
        """Ask each site once, and give what could be read, by site."""
        sent = [Question(self._members[site].node_id, site, one.letter()) for site, one in questions.items()]
        read: dict[str, AnyAnswer] = {}
        for answer in self._ask(sent):
            site = answer.question.site
            try:
                if answer.letter is None:
                    self._leave_out(site, "", answer.reason, declined=answer.declined)
                    continue
                read[site] = kind.read(answer.letter)
                self._note_declined(site, read[site])
            except LegoError as error:
                self._leave_out(site, "", error.public)
        return read

    def _ask(self, questions: Sequence[Question]) -> list[Answer]:
        doing = {"phase": self._phase, "round": self._round_number}
        return self._exchange.ask(questions, timeout_seconds=self._wait_seconds, doing=doing)

    def _note_declined(self, site: str, answer: AbstractSumAnswer) -> None:
        for sid, reason in answer.declined.items():
            self._leave_out(site, self._sums.named(sid), reason, declined=True)

    def _leave_out(self, site: str, about: str, reason: str, *, declined: bool = False) -> None:
        self._exchange.log.leave_out(
            LeftOut(
                site=site, phase=self._phase, round=self._round_number, modality=about, declined=declined,
                reason=reason,
            )
        )  # fmt: skip
