"""Who is here, with what: waiting for sites, hearing their offers, and who may do what."""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from lego_core.component import Component
from lego_core.errors import LegoError, RunError
from lego_core.plan import RunPlan
from lego_core.protocol import AskOffer, Offer
from lego_core.run_report import LeftOut, SiteSummary
from server.exchange import Answer, Exchange, Question


@dataclass(frozen=True)
class Participant:
    """A site that takes part."""

    site: str
    node_id: int
    offer: Offer

    def holds(self, modality: str) -> bool:
        """Whether any patient here has this modality."""
        return modality in self.offer.modalities

    def held(self, modalities: Iterable[str]) -> tuple[str, ...]:
        """Those of the modalities that the site holds, in the given order."""
        return tuple(name for name in modalities if self.holds(name))

    def with_only(self, modalities: Iterable[str]) -> "Participant":
        """The same site, asked about these modalities alone."""
        held = {name: self.offer.modalities[name] for name in self.held(modalities)}
        return replace(self, offer=self.offer.model_copy(update={"modalities": held}))

    def trains_block(self, modality: str, plan: RunPlan) -> bool:
        """Whether its patients take part in the training of this block."""
        if self.offer.paired and not plan.rounds.paired_sites_train_blocks:
            return False
        return self.holds(modality) and self.offer.modalities[modality].trains

    def teaches(self, part: str) -> bool:
        """Whether paired patients here teach a part of the fused model: a block they have, or the head."""
        own = self.offer.modalities
        if part == "head":
            return any(map(self.teaches, own))
        return part in own and not own.keys().isdisjoint(own[part].fuses_with)

    def summary(self) -> SiteSummary:
        """What the report says of the site."""
        patients = {name: offer.patients for name, offer in self.offer.modalities.items()}
        return SiteSummary(site=self.site, patients=patients, paired_patients=self.offer.paired_patients)


def gather(exchange: Exchange, plan: RunPlan, *, roster: Collection[str] | None = None) -> list[Participant]:
    """Wait for the sites, hear their offers, and give those that take part, by name.

    Args:
        exchange: How to reach them.
        plan: What to do.
        roster: Names of those who may take part; anybody may if not given.

    Raises:
        RunError: If no site comes, or none has anything to offer.
    """
    node_ids = wait_for_sites(exchange, plan, wanted=plan.expected_sites)
    missing = plan.expected_sites - len(node_ids)
    if missing > 0:
        _note_missing(missing, plan=plan, exchange=exchange)
    participants: dict[str, Participant] = {}
    for answer in ask_offers(exchange, plan, node_ids):
        taken = participants.keys()
        participant = hear(answer, plan=plan, exchange=exchange, taken=taken, roster=roster)
        if participant:
            participants[participant.site] = participant
    if not participants:
        reasons = "; ".join(sorted({left.reason for left in exchange.log.left_out})) or "nobody was there"
        raise RunError(
            f"None of {len(node_ids)} sites takes part in plan '{plan.name}'. Their reasons: {reasons}"
        )
    return [participants[site] for site in sorted(participants)]


def ask_offers(exchange: Exchange, plan: RunPlan, node_ids: Sequence[int]) -> list[Answer]:
    """Ask every node what it offers."""
    questions = [Question(node_id, f"node-{node_id}", AskOffer().letter()) for node_id in node_ids]
    doing = {"phase": "offer", "round": 0}
    return exchange.ask(questions, timeout_seconds=plan.participation.round_seconds, doing=doing)


def hear(
    answer: Answer,
    *,
    plan: RunPlan,
    exchange: Exchange,
    taken: Iterable[str],
    roster: Collection[str] | None,
) -> Participant | None:
    """Read an offer; a site that cannot take part is left out with the reason.

    Args:
        answer: What a node said.
        plan: What to do.
        exchange: Where it is written down.
        taken: Names of sites that were heard before.
        roster: Names of those who may take part; anybody may if not given.
    """
    log, node_id = exchange.log, answer.question.node_id
    site, reason = answer.question.site, answer.reason
    if answer.letter:
        try:
            offer = Offer.read(answer.letter)
            site, reason = offer.site, _why_not(offer, plan=plan, taken=taken, roster=roster)
            if not reason:
                patients = {name: one.patients for name, one in offer.modalities.items()}
                heard = {"modalities": patients, "paired_patients": offer.paired_patients}
                log.write("offer", {"site": site, **heard})
                return Participant(site, node_id, offer)
        except LegoError as error:
            reason = error.public
    log.leave_out(LeftOut(site=site, phase="offer", round=0, declined=answer.declined, reason=reason))
    return None


def _why_not(offer: Offer, *, plan: RunPlan, taken: Iterable[str], roster: Collection[str] | None) -> str:
    if offer.plan != plan.name:
        return (
            f"Site '{offer.site}' has read plan '{offer.plan}' and this run follows '{plan.name}'. Give "
            "the site the bundle of this run."
        )
    settings: dict[str, tuple[Component, Component]] = {"latent": (offer.latent, plan.latent)}
    for name in offer.modalities.keys() & plan.modalities.keys():
        settings[f"{name}.encoder"] = (offer.modalities[name].encoder, plan.modalities[name].encoder)
    for name, (theirs, ours) in settings.items():
        odd = first_difference(theirs, ours)
        if odd:
            return (
                f"Site '{offer.site}' has read plan '{offer.plan}' with {name}.{odd[0]} {odd[1]}, and this "
                f"run has {odd[2]}; such blocks do not go together. Give the site the bundle of this run."
            )
    if roster is not None and offer.site not in roster:
        return (
            f"Site '{offer.site}' has no key on the roster that counts today, and plan '{plan.name}' sums "
            f"securely over {len(roster)} sites that have one. Sign a roster that names it."
        )
    if offer.site in taken:
        return f"Two sites call themselves '{offer.site}'. Give one of them another name in site.toml."
    if not offer.modalities:
        return (
            f"Site '{offer.site}' holds none of the plan's modalities {sorted(plan.modalities)}. Check the "
            "names in its site.toml."
        )
    return ""


def first_difference(theirs: Component, ours: Component) -> tuple[str, object, object] | None:
    """The first setting in which two components differ, with both values; None if they are equal."""
    one, other = theirs.to_plain(), ours.to_plain()
    keys = [key for key in {**one, **other} if one.get(key) != other.get(key)]
    return (keys[0], one.get(keys[0]), other.get(keys[0])) if keys else None


def _note_missing(missing: int, *, plan: RunPlan, exchange: Exchange) -> None:
    """Put sites that did not come into the report; nobody knows their names."""
    come, waited = plan.expected_sites - missing, plan.participation.wait_seconds
    reason = (
        f"Of {plan.expected_sites} sites, {come} came within {waited:g} seconds (keys sites and "
        "wait-seconds of [participation]). Who comes later takes part from the next run on, since all "
        "sites of a run agree on its features at the start."
    )
    exchange.log.leave_out(LeftOut(site=f"{missing} more", phase="offer", round=0, reason=reason))


def wait_for_sites(exchange: Exchange, plan: RunPlan, *, wanted: int) -> Sequence[int]:
    """Wait until so many nodes are there, or as long as the plan says, and give their numbers."""
    start = said = time.monotonic()
    while True:
        node_ids = exchange.node_ids()
        waited = time.monotonic() - start
        if len(node_ids) >= wanted or waited > plan.participation.wait_seconds:
            return node_ids
        if time.monotonic() - said > 5:
            said = time.monotonic()
            missing = [f"{wanted - len(node_ids)} of {wanted} sites"]
            limits = {"seconds": round(waited), "limit_seconds": plan.participation.wait_seconds}
            exchange.log.write("waiting", {"phase": "offer", "round": 0, "for": missing, **limits})
        time.sleep(1)
