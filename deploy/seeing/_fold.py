"""One more line: from a state to the next. The state of a log is this, over its lines, from nothing."""

from collections.abc import Iterable
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from deploy.seeing import events as told
from deploy.seeing._fold_sites import after_answers, after_question, after_refusal, with_site
from deploy.seeing.follow import Line
from deploy.seeing.run_state import (
    BlockState,
    Fault,
    PhaseSpan,
    RoundPoint,
    RoundSpan,
    RunState,
    SitePoint,
    Told,
)
from deploy.seeing.words import is_serious, sentence_of

TOLD, TAIL, FAULTS = 200, 60, 50  # how many are kept
READER: TypeAdapter[told.AnyEvent] = TypeAdapter(told.AnyEvent)


def after_lines(state: RunState, lines: Iterable[Line]) -> RunState:
    """The state after some more lines."""
    for line in lines:
        state = after_line(state, line)
    return state


def after_line(state: RunState, line: Line) -> RunState:
    """The state after one more line; a line that does not hold is a fault, and never an error."""
    state = _changed(state, lines=state.lines + 1, tail=(*state.tail[1 - TAIL :], line.text))
    if not line.follows:
        sentence = "It does not follow from the line before it, or that one was changed."
        state = _with_fault(state, line.place, sentence)
    kind = line.event.get("event")
    if not isinstance(kind, str):
        return _with_fault(state, line.place, "It is no event of a run.")
    state = _changed(state, counts={**state.counts, kind: state.counts.get(kind, 0) + 1})
    if kind not in told.KINDS:
        return state
    try:
        event = READER.validate_python(line.event)
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, one["loc"][1:])) for one in error.errors(include_url=False))
        return _with_fault(state, line.place, f"Event '{kind}' cannot be read (keys: {keys}).")
    return _with_sentence(_after_event(_at(state, event), event), event)


def _after_event(state: RunState, event: told.AnyEvent) -> RunState:
    match event:
        case told.RunStarted():
            return _begun(state, event)
        case told.PhaseStarted():
            return _in_phase(state, event.phase, event.time)
        case told.Asked() | told.Waiting():
            return after_question(_in_phase(state, event.phase, event.time), event)
        case told.Heard():
            return after_answers(_in_phase(state, event.phase, event.time), event)
        case told.OfferMade():
            return with_site(
                state, event.site, patients=event.modalities, paired_patients=event.paired_patients
            )
        case told.SiteLeftOut():
            return after_refusal(state, event)
        case told.Agreed():
            return _with_block(state, event.modality, features=event.features)
        case told.RoundStarted():
            return _round_begun(_in_phase(state, event.phase, event.time), event)
        case told.Answered():
            return _with_point(state, event)
        case told.RoundFinished():
            return _round_ended(state, event)
        case told.BlockFinished():
            return _with_block(state, event.modality, done=True, best_round=event.kept_round)
        case told.PrivacySpent():
            charges = state.sites[event.site].charges + 1 if event.site in state.sites else 1
            return with_site(state, event.site, epsilon=event.epsilon, delta=event.delta, charges=charges)
        case told.Merged():
            return _changed(_in_phase(state, "merge", event.time), merge_weights=event.weights)
        case told.Resumed():
            return _resumed(state)
        case told.Evaluated():
            fields = ("metric", "best_block", "scores", "withheld")
            return _changed(state, **{name: getattr(event, name) for name in fields})
        case told.Recommended():
            return _changed(state, recommendation=f"{event.sentence} {event.afterwards}".strip())
        case told.Finished():
            return _ended(state, event)
    return state


def _at(state: RunState, event: told.AnyEvent) -> RunState:
    """Any event but the last means that the run is going on, also after an end: then it was resumed."""
    state = _changed(state, began=state.began or event.time, last_event=event.time)
    if isinstance(event, told.Finished):
        return state
    return _changed(state, status="running", reason="")


def _begun(state: RunState, event: told.RunStarted) -> RunState:
    return _changed(
        state,
        plan=event.plan,
        task=event.task,
        privacy=event.privacy,
        claim=event.claim,
        modalities=event.modalities,
        epsilon=event.epsilon,
        block_rounds=event.rounds,
        fuse_rounds=event.fuse_rounds,
        expected_sites=event.expected_sites,
        round_seconds=event.round_seconds,
    )


def _in_phase(state: RunState, phase: str, time: datetime) -> RunState:
    if phase == state.phase:
        return state
    phases = (*_closed(state.phases, time), PhaseSpan(phase=phase, began=time))
    return _changed(
        state, phase=phase, phases=phases, round=0, rounds=0, waiting=(), asked_at=None, limit_seconds=None
    )


def _closed(phases: tuple[PhaseSpan, ...], time: datetime) -> tuple[PhaseSpan, ...]:
    return (*phases[:-1], phases[-1].model_copy(update={"ended": time})) if phases else ()


def _round_begun(state: RunState, event: told.RoundStarted) -> RunState:
    spans = state.round_spans
    if event.phase in ("blocks", "fuse"):
        spans = (*spans, RoundSpan(phase=event.phase, round=event.round, began=event.time))
    state = _changed(state, round=event.round, rounds=event.rounds, round_spans=spans)
    for name in dict.fromkeys(about for _, about in event.asked if about):
        state = _with_block(
            state, name, phase=event.phase, round=event.round, rounds=event.rounds, done=False
        )
    return state


def _with_point(state: RunState, event: told.Answered) -> RunState:
    own = _block(state, event.modality).points
    point = SitePoint(
        phase=event.phase, round=event.round, time=event.time, site=event.site,
        train_loss=event.train_loss, validation_loss=event.validation_loss, seconds=event.seconds,
    )  # fmt: skip
    others = tuple(one for one in own if (one.round, one.site) != (event.round, event.site))
    return _with_block(state, event.modality, points=(*others, point))


def _round_ended(state: RunState, event: told.RoundFinished) -> RunState:
    own = _block(state, event.modality).curve
    point = RoundPoint(
        phase=event.phase, round=event.round, time=event.time, asked=len(event.asked),
        answered=len(event.answered), validation_loss=event.validation_loss,
        validation_score=event.validation_score,
    )  # fmt: skip
    curve = (*(one for one in own if one.round < event.round), point)
    state = _with_block(
        state, event.modality, phase=event.phase, round=event.round, best_round=event.best_round, curve=curve
    )
    spans = tuple(
        span.model_copy(update={"ended": event.time})
        if (span.phase, span.round) == (event.phase, event.round)
        else span
        for span in state.round_spans
    )
    return _changed(state, round_spans=spans, waiting=(), asked_at=None, limit_seconds=None)


def _resumed(state: RunState) -> RunState:
    """Nobody who was waited for when the run broke off is waited for any more."""
    waited = [name for name, site in state.sites.items() if site.standing == "waited for"]
    for name in waited:
        state = with_site(state, name, standing="absent", waiting_since=None)
    return _changed(state, waiting=(), asked_at=None, limit_seconds=None)


def _ended(state: RunState, event: told.Finished) -> RunState:
    return _changed(
        state,
        status=event.status,
        reason=event.reason,
        phases=_closed(state.phases, event.time),
        waiting=(),
        asked_at=None,
        limit_seconds=None,
    )


def _block(state: RunState, name: str) -> BlockState:
    return state.blocks.get(name) or BlockState(modality=name)


def _with_block(state: RunState, name: str, **fields: object) -> RunState:
    block = _block(state, name).model_copy(update=fields)
    return _changed(state, blocks={**state.blocks, name: block})


def _with_sentence(state: RunState, event: told.AnyEvent) -> RunState:
    sentence = sentence_of(event)
    if not sentence:
        return state
    one = Told(
        number=event.number, time=event.time, event=event.event, sentence=sentence, serious=is_serious(event)
    )
    return _changed(state, told=(*state.told[1 - TOLD :], one))


def _with_fault(state: RunState, line: int, sentence: str) -> RunState:
    if len(state.faults) >= FAULTS:
        return state
    return _changed(state, faults=(*state.faults, Fault(line=line, sentence=sentence)))


def _changed(state: RunState, **fields: object) -> RunState:
    return state.model_copy(update=fields)
