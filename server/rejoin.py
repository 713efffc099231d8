"""Who is there again when a run is resumed: the same sites, under whatever number Flower gives them now."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from lego_core.plan import RunPlan
from lego_core.protocol import Offer
from lego_core.run_report import LeftOut
from server.exchange import NOBODY, Exchange
from server.participants import Participant, ask_offers, first_difference, hear, wait_for_sites


def rejoin(
    before: Sequence[Participant],
    *,
    plan: RunPlan,
    exchange: Exchange,
    roster: Collection[str] | None = None,
) -> list[Participant]:
    """Wait for the participants of a run that broke off, and give all of them, by name.

    Who does not come, or comes with other data, is absent and told; who has come back by a later round takes
    part in it, if Flower knows the site by the same number. Nobody joins who was not there before.

    Args:
        before: The participants.
        plan: What to do.
        exchange: How to reach the sites.
        roster: Names of those who may take part; anybody may if not given.
    """
    node_ids = wait_for_sites(exchange, plan, wanted=len(before))
    known, there, taken = {one.site: one for one in before}, {}, set()
    for answer in ask_offers(exchange, plan, node_ids):
        heard = hear(answer, plan=plan, exchange=exchange, taken=there, roster=roster)
        if heard is None:
            continue
        taken.add(heard.node_id)
        own = known.get(heard.site)
        if own is None:
            _leave_out(
                exchange,
                heard.site,
                f"Site '{heard.site}' was not in the run before it was resumed, and what the sites agreed on "
                "stays as it is. It can take part in the next run.",
            )
        elif heard.offer != own.offer:
            _leave_out(exchange, own.site, _why_not(own.offer, heard.offer))
            there[own.site] = replace(own, node_id=NOBODY)
        else:
            there[own.site] = heard
    for one in before:
        if one.site not in there:
            _leave_out(
                exchange,
                one.site,
                f"Site '{one.site}' took part before the run was resumed, and is not there now. The run "
                "goes on without it; it is asked again in every round.",
            )
            there[one.site] = replace(one, node_id=NOBODY if one.node_id in taken else one.node_id)
    return [there[site] for site in sorted(there)]


def _why_not(before: Offer, now: Offer) -> str:
    if before.modalities.keys() != now.modalities.keys():
        what, values = "modalities", (sorted(before.modalities), sorted(now.modalities))
    else:
        pairs = [(name, one, now.modalities[name]) for name, one in before.modalities.items()]
        odd = next((pair for pair in pairs if pair[1] != pair[2]), ("its patients", before, now))
        key, *values = first_difference(odd[1], odd[2]) or ("form", "", "")
        what = f"'{odd[0]}', {key}"
    return (
        f"Site '{now.site}' offers other data than before the run was resumed: {what} {values[0]} then, "
        f"{values[1]} now. What the sites agreed on is not about them, so it takes no part in the rest. "
        "Put the data back and resume again, or begin a new run."
    )


def _leave_out(exchange: Exchange, site: str, reason: str) -> None:
    exchange.log.leave_out(LeftOut(site=site, phase="offer", round=0, reason=reason))
