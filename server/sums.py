"""Secure sums over several sites at once: keys, shares, vectors, confirmations, opening.

Many sums run side by side, each over the sites that contribute to just this one; a site is asked
once per leg for all of its sums. Whoever is absent or answers wrongly is left out by name; where
too few are left, that sum stays closed and the others go on.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

import numpy as np
import torch

from lego_core.errors import LegoError, SecureSumError
from lego_core.letters import AbstractMessage, Letter, check_tensors
from lego_core.privacy import SumTerms
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.fixed_point import fraction_bits
from lego_core.privacy.fsa1.memory import MaskedVector
from lego_core.privacy.fsa1.neighbours import EVERYBODY, circle_size, threshold
from lego_core.privacy.fsa1.server import ServerSession
from lego_core.run_report import LeftOut, Phase
from lego_core.sum_forms import SumForm, weights_sha256
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
from server.asked import Asked, Opened
from server.exchange import Exchange, Question

SKEW_SECONDS = 600  # by which the clocks of sites may go wrong
LEGS_TO_VECTORS = 3  # each may have to wait for a site that is lost; no clock is looked at afterwards
ATTEMPTS = 2  # of a sum that stayed closed before anybody confirmed it
OPENINGS = 3  # of one that is confirmed: sites give the same shares again

T = TypeVar("T")
AnyAnswer = TypeVar("AnyAnswer", bound=AbstractSumAnswer)


@final
@dataclass(frozen=True)
class SumOffice:
    """What all secure sums of a run have in common.

    Args:
        exchange: How to reach the sites.
        terms: The plan's.
        keys: The sites' public keys, by name.
        roster_sha256: Hash of the roster that names them.
        run: What sessions call the run.
        wait_seconds: How long to wait for the answers of a leg.
    """

    exchange: Exchange
    terms: SumTerms
    keys: Mapping[str, bytes]
    roster_sha256: str
    run: str
    wait_seconds: float

    def add_up(
        self, forms: Mapping[str, SumForm], asked: Sequence[Asked], *, phase: Phase, round_number: int = 0
    ) -> tuple[dict[str, Opened], dict[str, str]]:
        """Ask sites for numbers and see only what they come to.

        A sum that stays closed before it was confirmed, since a site was lost, is begun once more.

        Args:
            forms: What is summed, by the name of the sum.
            asked: All questions, any number per site.
            phase: For the diary.
            round_number: Likewise, and for the sessions.

        Returns:
            The sums that were opened, and why the others were not, by name.
        """
        opened: dict[str, Opened] = {}
        closed: dict[str, str] = {}
        wanted = set(forms)
        for number in range(1, ATTEMPTS + 1):
            own = {group: forms[group] for group in forms if group in wanted}
            attempt = _Attempt(self, own, asked, phase=phase, round_number=round_number, number=number)
            opened |= attempt.run()
            closed |= attempt.closed
            wanted = attempt.closed.keys() - attempt.confirmed
            if not wanted:
                break
        return opened, {group: reason for group, reason in closed.items() if group not in opened}

    def describe(
        self, form: SumForm, asked: Sequence[Asked], *, round_number: int, attempt: int
    ) -> SessionDescriptor:
        """The session of one sum over some sites, with a fresh name."""
        sites = sorted(one.member.site for one in asked)
        neighbours, needed = len(sites) - 1, threshold(len(sites), most_corrupt=self.terms.max_corrupt)
        if len(sites) > EVERYBODY:
            neighbours, needed = circle_size(len(sites))
        question = asked[0].question
        return SessionDescriptor(
            run=self.run,
            round=round_number,
            group=form.group,
            attempt=attempt,
            participants=tuple(sites),
            threshold=needed,
            neighbours=neighbours,
            max_corrupt=self.terms.max_corrupt,
            min_survivors=self.terms.fewest,
            dim=form.dim,
            clipped_dim=form.clipped_dim,
            clip=self.terms.clip,
            frac_bits=fraction_bits(len(sites), float.fromhex(self.terms.clip)),
            weight_cap=self.terms.weight_cap,
            model_sha256=weights_sha256(question.weights),
            schema_sha256=form.schema_sha256,
            task_sha256=question.task_sha256,
            roster_sha256=self.roster_sha256,
            nonce=secrets.token_hex(32),
            deadline=int(time.time() + LEGS_TO_VECTORS * self.wait_seconds + SKEW_SECONDS),
        )


class _Attempt:
    """Several sums, from the keys to the opening.

    Args:
        office: What they have in common.
        forms: What is summed, by the name of the sum.
        asked: All questions.
        phase: For the diary.
        round_number: Likewise.
        number: How often these sums were begun.
    """

    def __init__(
        self,
        office: SumOffice,
        forms: Mapping[str, SumForm],
        asked: Sequence[Asked],
        *,
        phase: Phase,
        round_number: int,
        number: int,
    ) -> None:
        self.closed: dict[str, str] = {}
        self.confirmed: set[str] = set()
        self._office, self._round_number = office, round_number
        self._phase: Phase = phase
        self._asked, self._forms = asked, forms
        self._members = {one.member.site: one.member for one in asked}
        self._live: dict[str, ServerSession] = {}  # by the name of the sum
        self._sids: dict[str, str] = {}
        for group, form in forms.items():
            own = [one for one in asked if group in one.groups]
            described = office.describe(form, own, round_number=round_number, attempt=number)
            self._live[group] = ServerSession(described, office.keys)
            self._sids[group] = described.sid.hex()

    def run(self) -> dict[str, Opened]:
        """All five legs; a sum that fails in one is closed, and takes no part in the next."""
        self._exchange_keys()
        self._exchange_shares()
        self._gather_vectors()
        self._confirm()
        return self._open()

    def _exchange_keys(self) -> None:
        sessions = {site: self._own(site) for site in self._members}
        questions = {
            site: AskSumKeys(sessions=tuple(one.described.packed() for one in own.values()))
            for site, own in sessions.items()
            if own
        }
        answers = self._leg(questions, SumKeys)
        for group, session in list(self._live.items()):
            bundles = self._by_place(session, {site: one.bundles for site, one in answers.items()}, group)
            self._step(group, lambda session=session, bundles=bundles: session.take_keys(bundles))

    def _exchange_shares(self) -> None:
        questions = {}
        for site in self._members:
            shown = {
                self._sids[group]: session.bundles
                for group, session in self._own(site).items()
                if session.described.places[site] in session.bundles
            }
            if shown:
                questions[site] = AskSumShares(bundles=shown)
        answers = self._leg(questions, SumShares)
        for group, session in list(self._live.items()):
            sealed = self._by_place(session, {site: one.sealed for site, one in answers.items()}, group)
            self._step(group, lambda session=session, sealed=sealed: session.take_shares(sealed))

    def _gather_vectors(self) -> None:
        sent: list[Asked] = []
        questions: list[Question] = []
        for one in self._asked:
            invitations = self._invitations(one)
            if invitations:
                question = one.question.model_copy(update={"sums": invitations})
                member = one.member
                questions.append(
                    Question(member.node_id, member.site, question.letter(one.tensors), one.about)
                )
                sent.append(one)
        answers = self._office.exchange.ask(
            questions, timeout_seconds=self._office.wait_seconds, doing=self._doing
        )
        for one, answer in zip(sent, answers, strict=True):
            try:
                if answer.letter is None:
                    self._leave_out(
                        one.member.site,
                        one.about,
                        answer.reason,
                        declined=answer.declined,
                        budget_spent=answer.budget_spent,
                    )
                else:
                    self._take(one, answer.letter)
            except LegoError as error:
                self._leave_out(one.member.site, one.about, error.public)
        for group, session in list(self._live.items()):
            self._step(group, session.close)

    def _take(self, one: Asked, letter: Letter) -> None:
        """Add a site's masked vectors to the sums."""
        masked = MaskedVectors.read(letter)
        dims = {self._sids[group]: self._forms[group].dim for group in one.groups if group in self._live}
        declared = {sid: (torch.Size([dims[sid]]), torch.int32) for sid in dims if sid in masked.signatures}
        check_tensors(letter, declared, sender=f"Site '{one.member.site}'")
        self._note_declined(one.member.site, masked)
        self._office.exchange.log.privacy_spent(one.member.site, masked.spent)
        for group, session in self._own(one.member.site).items():
            sid = self._sids[group]
            if sid in declared and group in one.groups:
                residues = letter.tensors[sid].numpy().view(np.uint32)
                vector = MaskedVector(residues, masked.signatures[sid])
                session.take_masked(session.described.places[one.member.site], vector)

    def _confirm(self) -> None:
        questions = {}
        for site in self._members:
            sets = {
                self._sids[group]: SumSets(
                    sharing_sites=tuple(sorted(session.sharing_sites)),
                    survivors=tuple(sorted(session.survivors)),
                )
                for group, session in self._own(site).items()
                if session.described.places[site] in session.survivors
            }
            if sets:
                questions[site] = AskSumConfirmations(sets=sets)
        self.confirmed |= self._live.keys()
        answers = self._leg(questions, SumConfirmations)
        for group, session in list(self._live.items()):
            signed = self._by_place(session, {site: one.signatures for site, one in answers.items()}, group)
            self._step(group, lambda session=session, signed=signed: session.take_confirmations(signed))

    def _open(self) -> dict[str, Opened]:
        shares: dict[str, dict[int, Mapping[int, bytes]]] = {group: {} for group in self._live}
        for _ in range(OPENINGS):
            questions = self._ask_for_shares(shares)
            if not questions:
                break
            answers = self._leg(questions, SumOpening)
            for group, session in self._live.items():
                shares[group] |= self._by_place(
                    session, {site: one.shares for site, one in answers.items()}, group
                )
        opened = {}
        for group, session in list(self._live.items()):
            form = self._forms[group]

            def read(session: ServerSession = session, form: SumForm = form, group: str = group) -> None:
                words, there = session.open(shares[group]), session.survivors
                numbers = form.read(session.described, words, num_sites=len(there))
                sites = tuple(session.described.participants[place - 1] for place in sorted(there))
                opened[group] = Opened(numbers, sites)

            self._step(group, read)
        return opened

    def _ask_for_shares(
        self, shares: Mapping[str, Mapping[int, Mapping[int, bytes]]]
    ) -> dict[str, AbstractMessage]:
        """Ask who confirmed and has not yet handed out, where the shares there are do not suffice."""
        questions: dict[str, AbstractMessage] = {}
        for site in self._members:
            signed = {
                self._sids[group]: session.confirmations
                for group, session in self._own(site).items()
                if session.described.places[site] in session.confirmations
                and session.described.places[site] not in shares[group]
                and not session.suffice(shares[group])
            }
            if signed:
                questions[site] = AskSumOpening(confirmations=signed)
        return questions

    # ---- what the legs have in common ------------------------------------------------------

    def _leg(self, questions: Mapping[str, AbstractMessage], kind: type[AnyAnswer]) -> dict[str, AnyAnswer]:
        """Ask each site once, and give what could be read, by site."""
        sent = [Question(self._members[site].node_id, site, one.letter()) for site, one in questions.items()]
        answers = self._office.exchange.ask(
            sent, timeout_seconds=self._office.wait_seconds, doing=self._doing
        )
        read: dict[str, AnyAnswer] = {}
        for answer in answers:
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

    def _step(self, group: str, take: Callable[[], None]) -> None:
        """Take one step of a sum, or close it; tell who was left out on the way."""
        session = self._live[group]
        before = dict(session.left_out)
        try:
            take()
        except SecureSumError as error:
            self.closed[group] = error.public
            del self._live[group]
        for site, reason in session.left_out.items():
            if before.get(site) != reason:
                self._leave_out(site, group, f"Site '{site}' is left out of the sum '{group}': {reason}.")

    def _own(self, site: str) -> dict[str, ServerSession]:
        """The sums that a site takes part in."""
        return {
            group: session for group, session in self._live.items() if site in session.described.participants
        }

    def _by_place(
        self, session: ServerSession, answers: Mapping[str, Mapping[str, T]], group: str
    ) -> dict[int, T]:
        """What the sites of one sum said of it, by place."""
        sid, places = self._sids[group], session.described.places
        return {places[site]: one[sid] for site, one in answers.items() if site in places and sid in one}

    def _invitations(self, one: Asked) -> dict[str, Invitation]:
        invitations = {}
        for group, session in self._own(one.member.site).items():
            place = session.described.places[one.member.site]
            if group in one.groups and place in session.sharing_sites:
                invitations[self._forms[group].group] = Invitation(
                    session=self._sids[group],
                    sharing_sites=tuple(sorted(session.sharing_sites)),
                    sealed=session.sealed_for(place),
                )
        return invitations

    def _note_declined(self, site: str, answer: AbstractSumAnswer) -> None:
        names = {sid: group for group, sid in self._sids.items()}
        for sid, reason in answer.declined.items():
            self._leave_out(site, names.get(sid, ""), reason, declined=True)

    def _leave_out(
        self, site: str, about: str, reason: str, *, declined: bool = False, budget_spent: bool = False
    ) -> None:
        self._office.exchange.log.leave_out(
            LeftOut(
                site=site, phase=self._phase, round=self._round_number, modality=about, declined=declined,
                reason=reason, budget_spent=budget_spent,
            )
        )  # fmt: skip

    @property
    def _doing(self) -> dict[str, object]:
        return {"phase": self._phase, "round": self._round_number}
