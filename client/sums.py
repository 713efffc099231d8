"""A site's part in secure sums: five answers around its vectors, apart from what is in them.

What a session needs to go on lies in Flower's state of this site and run, and goes with it: a site
whose process lost it is absent from the sum. What may never be answered twice lies in the ledger.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast, final

import numpy as np
import torch
from flwr.app import ConfigRecord, Context
from torch import Tensor

from client.ledger import SiteLedger
from client.site import Site
from lego_core.errors import LegoError, PrivacyError, SecureSumError, SiteRefusal
from lego_core.letters import Letter
from lego_core.privacy import SumTerms
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.limits import Expected
from lego_core.privacy.fsa1.memory import MaskedVector, SiteMemory
from lego_core.privacy.fsa1.site import SiteSession
from lego_core.protocol import AbstractSummable
from lego_core.run_sums import run_name
from lego_core.sum_forms import SumForm, tensor_hashes, weights_sha256
from lego_core.sum_letters import (
    AskSumConfirmations,
    AskSumKeys,
    AskSumOpening,
    AskSumShares,
    MaskedVectors,
    Spent,
    SumConfirmations,
    SumKeys,
    SumOpening,
    SumShares,
)
from lego_core.update import BlockUpdate

NOTHING_TO_ADD = (
    "This site declines: it has no patients who would add to this sum, and zeros would make it one of fewer "
    "sites than it says. Nothing was sent in it; the sum goes on without this site."
)
PINNED = "pinned"  # the record of what stays as it is for a run

T = TypeVar("T")
A = TypeVar("A")


@dataclass(frozen=True, eq=False)
class Addend:
    """What this site adds to one sum.

    Args:
        form: Names and shapes, as every site of the sum has them.
        numbers: Numbers of any size.
        update: What the site's patients taught a part of a model.
    """

    form: SumForm
    numbers: Mapping[str, Tensor]
    update: BlockUpdate | None = None


@final
class SumSeat:
    """A site in the secure sums of a run.

    Args:
        site: The site; its data are not opened here.
        context: Flower's context of the site in this run.
    """

    def __init__(self, site: Site, context: Context) -> None:
        self._site = site
        self._state = context.state
        self._run = run_name(site.plan.name, context.run_id)
        self._ledger = SiteLedger(site.folder / "ledger.jsonl", compares_runs=site.file.rules.compare_runs)
        self._received_sha256 = ""

    # ---- the legs around the vectors -------------------------------------------------------

    def keys(self, question: AskSumKeys) -> Letter:
        """Begin sessions, each with fresh secrets."""
        self._forget_what_is_over()
        begun = {
            described.sid.hex(): described for described in map(SessionDescriptor.read, question.sessions)
        }
        bundles, declined = _each(begun, self._begin)
        return SumKeys(bundles=bundles, declined=declined).letter()

    def shares(self, question: AskSumShares) -> Letter:
        """Deal shares of this site's secrets out."""
        sealed, declined = _each(
            question.bundles, lambda sid, shown: self._ask(sid, lambda s: s.shares(shown))
        )
        return SumShares(sealed=sealed, declined=declined).letter()

    def confirm(self, question: AskSumConfirmations) -> Letter:
        """Sign whose sums may be opened, after noting it for good."""
        signatures, declined = _each(
            question.sets,
            lambda sid, sets: self._ask(
                sid, lambda s: s.confirm(frozenset(sets.sharing_sites), frozenset(sets.survivors))
            ),
        )
        return SumConfirmations(signatures=signatures, declined=declined).letter()

    def open(self, question: AskSumOpening) -> Letter:
        """Hand out what opens the sums that enough sites have confirmed."""
        shares, declined = _each(
            question.confirmations, lambda sid, signed: self._ask(sid, lambda s: s.unmask(signed))
        )
        return SumOpening(shares=shares, declined=declined).letter()

    # ---- the vectors -----------------------------------------------------------------------

    def check(
        self, question: AbstractSummable, forms: Sequence[SumForm], state: Mapping[str, Tensor]
    ) -> None:
        """Make sure that every session this question invites to is about just this question.

        Asked before anything is computed.

        Raises:
            LegoError: If a session is unknown, is about something else, or the weights that came are
                not those that all sites were sent.
        """
        known = {form.group: form for form in forms}
        if not question.sums.keys() <= known.keys():
            raise SiteRefusal(
                f"This site declines: the server invites to the sums {sorted(question.sums)}, and its "
                f"question goes into {sorted(known)}. Nothing was sent. Give server and site the same bundle."
            )
        own = tensor_hashes(state)
        odd = next((name for name, one in own.items() if question.weights.get(name) != one), None)
        if odd is not None:
            raise PrivacyError(
                f"The weights '{odd}' that came are not those that the server says it sent to all sites of "
                "the sum. Nothing was trained or sent. If it happens again, look at who answers in the "
                "server's name."
            )
        self._received_sha256 = weights_sha256(own)
        self._check_unchanged(question)
        for group, invitation in question.sums.items():
            described = self._described(invitation.session)
            self._expected(question, known[group]).check(described)
            self._check_limits(described)

    def mask(
        self,
        question: AbstractSummable,
        addends: Sequence[Addend],
        *,
        spent: Spent | None = None,
    ) -> Letter:
        """Hide the vectors of all sums that the question invites to; what goes into no sum stays here.

        A sum to which this site's patients add nothing is declined: with its zeros, the sum would be
        of fewer sites than it says.
        """
        model = weights_sha256(question.weights)

        def hide(group: str, addend: Addend) -> MaskedVector:
            invitation = question.sums[group]

            def masked(session: SiteSession) -> MaskedVector:
                parts = addend.form.words(session.described, update=addend.update, numbers=addend.numbers)
                return session.masked(
                    invitation.sealed,
                    sharing_sites=frozenset(invitation.sharing_sites),
                    parts=parts,
                    model_sha256=model,
                    received_sha256=self._received_sha256,
                )

            return self._ask(invitation.session, masked)

        wanted = {addend.form.group: addend for addend in addends if addend.form.group in question.sums}
        vectors, declined = _each(wanted, hide)
        declined |= dict.fromkeys(question.sums.keys() - wanted.keys(), NOTHING_TO_ADD)
        sid = {group: invitation.session for group, invitation in question.sums.items()}
        return MaskedVectors(
            signatures={sid[group]: vector.signature for group, vector in vectors.items()},
            declined={sid[group]: reason for group, reason in declined.items()},
            spent=spent,
        ).letter({sid[group]: _as_tensor(vector.residues) for group, vector in vectors.items()})

    def _check_unchanged(self, question: AbstractSummable) -> None:
        """Refuse another agreement, or other modalities of the site, than before in the same run.

        By changing them a server could have sums over other patients, or other features, of the same sites.

        Raises:
            SiteRefusal: If they are others.
        """
        pinned = self._state.config_records.get(PINNED) or ConfigRecord()
        for about in ("agreement", "modalities"):
            if about not in type(question).model_fields:
                continue
            plain = json.dumps(question.model_dump(mode="json", include={about}), sort_keys=True)
            now = hashlib.sha256(plain.encode()).hexdigest()
            if pinned.setdefault(about, now) != now:
                raise SiteRefusal(
                    f"This site declines: the server names another {about} in this question than in an "
                    "earlier one of this run. Nothing was sent. Begin a new run if the sites have changed."
                )
        self._state[PINNED] = pinned

    # ---- sessions --------------------------------------------------------------------------

    def _begin(self, sid: str, described: SessionDescriptor) -> bytes:
        if sid not in self._state:
            self._check_limits(described)
            self._keep(sid, described, SiteMemory.begin())
        return self._ask(sid, lambda session: session.keys())

    def _check_limits(self, described: SessionDescriptor) -> None:
        self._site.file.secure_sum.check(
            described,
            site=self._site.file.name,
            roster=frozenset(self._site.credentials.keys),
            now=int(time.time()),
        )
        self._site.file.rules.check_session(described, terms=terms_of(self._site))

    def _expected(self, question: AbstractSummable, form: SumForm) -> Expected:
        terms = terms_of(self._site)
        return Expected(
            run=self._run,
            round=getattr(question, "round", 0),
            group=form.group,
            dim=form.dim,
            clipped_dim=form.clipped_dim,
            clip=terms.clip,
            weight_cap=terms.weight_cap,
            schema_sha256=form.schema_sha256,
            task_sha256=question.task_sha256,
            roster_sha256=self._site.credentials.roster_sha256,
        )

    def _ask(self, sid: str, question: Callable[[SiteSession], A]) -> A:
        """Ask a session, and keep what it remembers afterwards, however it ended."""
        described = self._described(sid)
        record = self._state.config_records[sid]
        memory = SiteMemory.restore({name: cast(bytes, record[name]) for name in ("session", "residues")})
        credentials = self._site.credentials
        session = SiteSession(
            described,
            site=self._site.file.name,
            identity=credentials.key,
            roster=credentials.keys,
            ledger=self._ledger,
            memory=memory,
        )
        try:
            return question(session)
        finally:
            self._keep(sid, described, session.memory)

    def _described(self, sid: str) -> SessionDescriptor:
        if sid not in self._state:
            raise SecureSumError(
                "This site knows nothing of a session that it is asked about: its process was started anew, "
                "or the session is over. It is absent from this sum. Begin anew, with fresh keys."
            )
        return SessionDescriptor.read(cast(bytes, self._state.config_records[sid]["described"]))

    def _keep(self, sid: str, described: SessionDescriptor, memory: SiteMemory) -> None:
        over = {"over": memory.drawn is None, "deadline": described.deadline}
        self._state[sid] = ConfigRecord({"described": described.packed(), **over, **memory.save()})

    def _forget_what_is_over(self) -> None:
        now = time.time()
        for sid, record in list(self._state.config_records.items()):
            if sid == PINNED:
                continue
            if record["over"] or cast(int, record["deadline"]) < now:
                del self._state[sid]


def terms_of(site: Site) -> SumTerms:
    """The terms of the site's own plan.

    Raises:
        SiteRefusal: If the plan sums nothing unseen.
    """
    terms = site.plan.privacy.sum_terms
    if terms is None:
        raise SiteRefusal(
            f"This site declines: it was asked to take part in a secure sum, and its plan '{site.plan.name}' "
            f"has privacy '{site.plan.privacy.kind}'. Give server and site the bundle of the same plan."
        )
    return terms


def _each(asked: Mapping[str, T], answer: Callable[[str, T], A]) -> tuple[dict[str, A], dict[str, str]]:
    """Answer for each session by itself: what is wrong in one does not end the others."""
    answers, declined = {}, {}
    for name, one in asked.items():
        try:
            answers[name] = answer(name, one)
        except LegoError as error:
            declined[name] = error.public
    return answers, declined


def _as_tensor(residues: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(residues, dtype="<u4").view("<i4"))
