"""What a line changes in what is known of the sites: who is asked, who has answered, who is left out."""

from datetime import timedelta

from deploy.seeing import events as told
from deploy.seeing.run_state import Absence, Answer, RunState, SiteState, Standing


def with_site(state: RunState, site: str, **fields: object) -> RunState:
    """A site with some fields changed; one that was not known is known from now on."""
    changed = (state.sites.get(site) or SiteState(site=site)).model_copy(update=fields)
    return state.model_copy(update={"sites": {**state.sites, site: changed}})


def after_question(state: RunState, event: told.Asked | told.Waiting) -> RunState:
    """Sites are asked, or still waited for. A diary without `asked` tells by `waiting` alone."""
    if isinstance(event, told.Asked):
        names, since = event.sites, event.time
    else:
        names, since = event.waiting, event.time - timedelta(seconds=event.seconds)
        since = state.asked_at if state.asked_at and state.waiting else since
    for name in names:
        if name in state.sites and state.sites[name].standing != "waited for":
            state = with_site(state, name, standing="waited for", waiting_since=since)
    return state.model_copy(
        update={"waiting": names, "asked_at": since, "limit_seconds": event.limit_seconds}
    )


def after_answers(state: RunState, event: told.Heard) -> RunState:
    """Sites have answered; those that were asked several things may be waited for still."""
    for name in event.sites:
        site = state.sites.get(name)
        if site is None:
            continue
        still = name in event.waiting
        state = with_site(
            state,
            name,
            standing="waited for" if still else "here",
            waiting_since=site.waiting_since if still else None,
            last_answer=event.time,
            answers=site.answers + 1,
        )
    heard = (Answer(site=name, phase=event.phase, seconds=event.seconds) for name in event.sites)
    return state.model_copy(update={"waiting": event.waiting, "answers": (*state.answers, *heard)})


def after_refusal(state: RunState, event: told.SiteLeftOut) -> RunState:
    """A site takes no part in something."""
    standing: Standing = "declined" if event.declined else "left out"
    if event.site in state.waiting or (event.site not in state.sites and not event.declined):
        standing = "absent"
    known = state.sites.get(event.site) or SiteState(site=event.site)
    absence = Absence(
        time=event.time, phase=event.phase, round=event.round, modality=event.modality,
        declined=event.declined, reason=event.reason,
    )  # fmt: skip
    state = with_site(
        state,
        event.site,
        standing=standing,
        waiting_since=None,
        absences=(*known.absences, absence),
    )
    return state.model_copy(update={"waiting": tuple(one for one in state.waiting if one != event.site)})
