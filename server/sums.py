"""Secure sums over several sites at once: which sessions they are, and how often each is begun.

Many sums run side by side, each over the sites that contribute to just this one.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

from lego_core.privacy import EVERYBODY, SumTerms
from lego_core.privacy.fsa1.descriptor import SessionDescriptor
from lego_core.privacy.fsa1.fixed_point import fraction_bits
from lego_core.privacy.fsa1.neighbours import circle_size, threshold
from lego_core.privacy.fsa1.server import ServerSession
from lego_core.run_report import LeftOut, Phase
from lego_core.sum_forms import SumForm, weights_sha256
from server.asked import Asked, Opened
from server.exchange import Exchange
from server.sum_attempt import SumAttempt

SKEW_SECONDS = 600  # by which the clocks of sites may go wrong
LEGS_TO_VECTORS = 3  # each may have to wait for a site that is lost; no clock is looked at afterwards
ATTEMPTS = 2  # of a sum that stayed closed before anybody confirmed it


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
        last_sites: The sites in each sum when it was last opened.
    """

    exchange: Exchange
    terms: SumTerms
    keys: Mapping[str, bytes]
    roster_sha256: str
    run: str
    wait_seconds: float
    last_sites: dict[str, frozenset[str]] = field(default_factory=dict)

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
        asked = self._as_asked_before(asked, phase=phase, round_number=round_number)
        opened: dict[str, Opened] = {}
        closed: dict[str, str] = {}
        wanted = set(forms)
        for number in range(1, ATTEMPTS + 1):
            sessions = {}
            for group in sorted(wanted):
                own = [one for one in asked if group in one.groups]
                described = self.describe(forms[group], own, round_number=round_number, attempt=number)
                sessions[group] = ServerSession(described, self.keys)
            attempt = SumAttempt(
                sessions, forms, asked, exchange=self.exchange, wait_seconds=self.wait_seconds,
                phase=phase, round_number=round_number,
            )  # fmt: skip
            newly = attempt.run()
            self._note(newly, phase=phase, round_number=round_number)
            opened |= newly
            closed |= attempt.closed
            wanted = attempt.closed.keys() - attempt.confirmed
            if not wanted:
                break
        return opened, {group: reason for group, reason in closed.items() if group not in opened}

    def _as_asked_before(self, asked: Sequence[Asked], *, phase: Phase, round_number: int) -> Sequence[Asked]:
        """Leave out of each sum who was not in it when it was last to be opened, before the run was resumed.

        Sites may have signed for those others then, and sign for nearly the same ones no more: the
        difference would be one site.
        """
        before = self.exchange.log.asked_to_open
        if not before:
            return asked
        kept = []
        for one in asked:
            weights, groups = weights_sha256(one.question.weights), []
            for group in one.groups:
                if one.member.site in before.get((group, weights), {one.member.site}):
                    groups.append(group)
                    continue
                reason = (
                    f"Site '{one.member.site}' is left out of the sum '{group}', which sites were asked to "
                    "open without it before the run was resumed: two sums that differ by it would show it."
                )
                self.exchange.log.leave_out(
                    LeftOut(
                        site=one.member.site, phase=phase, round=round_number, modality=group, reason=reason
                    )
                )
            kept += [replace(one, groups=tuple(groups))] if groups else []
        return kept

    def _note(self, opened: Mapping[str, Opened], *, phase: Phase, round_number: int) -> None:
        """Write down whose sums were opened, and where one site came or went since the last round.

        The updates of two rounds are much alike, so that the difference of two such sums is nearly
        this site's own.
        """
        for group, one in opened.items():
            about = {"phase": phase, "round": round_number, "sum": group}
            self.exchange.log.write("sum-opened", {**about, "sites": one.sites, "sha256": one.sha256})
            before, now = self.last_sites.get(group), frozenset(one.sites)
            if before is not None and len(before ^ now) == 1:
                self.exchange.log.write("sum-differs-by-one", {**about, "site": min(before ^ now)})
            self.last_sites[group] = now

    def describe(
        self, form: SumForm, asked: Sequence[Asked], *, round_number: int, attempt: int
    ) -> SessionDescriptor:
        """The session of one sum over some sites, with a fresh name."""
        sites = sorted(one.member.site for one in asked)
        corrupt = self.terms.most_corrupt(len(sites))
        neighbours, needed = len(sites) - 1, threshold(len(sites), most_corrupt=corrupt)
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
            max_corrupt=corrupt,
            min_survivors=self.terms.fewest_survivors(len(sites)),
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
