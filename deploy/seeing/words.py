"""How an event, a phase and a time are told in a sentence, on every surface alike."""

from deploy.seeing import events as told

PHASES = {
    "offer": "asking sites what they hold",
    "agree": "agreeing on features and time bins",
    "blocks": "training blocks",
    "merge": "merging",
    "fuse": "fusing",
    "evaluate": "evaluating",
}
STATUS = {
    "not-begun": "not begun",
    "running": "running",
    "stalled": "stalled",
    "complete": "complete",
    "complete-with-absences": "complete, with absences",
    "failed": "failed",
}


def phase_name(phase: str) -> str:
    """What the run does in a phase."""
    return PHASES.get(phase, phase or "starting")


def duration(seconds: float) -> str:
    """Write `8 s`, `3 min 20 s`, `15 min`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    large, small = (f"{whole // 60} min", f"{whole % 60} s")
    if whole >= 3600:
        large, small = (f"{whole // 3600} h", f"{whole % 3600 // 60} min")
    return large if small.startswith("0 ") else f"{large} {small}"


def sentence_of(event: told.AnyEvent) -> str:
    """The event for people; empty for those that tell of every question and answer."""
    match event:
        case told.RunStarted():
            return f"The run of plan '{event.plan}' begins, privacy {event.privacy}."
        case told.PhaseStarted():
            return f"Now {phase_name(event.phase)}."
        case told.OfferMade():
            held = ", ".join(f"{name} of {count}" for name, count in event.modalities.items())
            return f"Site {event.site} takes part: {held} patients."
        case told.AskedAgain():
            return f"Site {event.site} is asked once more: {event.reason}"
        case told.AnsweredLate():
            return f"Site {event.site} has answered too late, and is free again."
        case told.Travelling():
            return f"{event.direction} site {event.site}: {event.mebibytes} of {event.of_mebibytes} MiB."
        case told.PiecesLeft():
            return f"Pieces stay on the disk of site {event.site}: {event.reason}"
        case told.SiteLeftOut():
            about = f" of {event.modality}" if event.modality else ""
            how = "declines" if event.declined else "is left out"
            where = f"{event.phase} {event.round}".removesuffix(" 0")
            return f"Site {event.site} {how}{about} ({where}): {event.reason}"
        case told.Agreed():
            return f"{event.modality}: {len(event.sites)} sites agree on {event.features} features."
        case told.NobodyJudges():
            return f"{event.modality}: too few sites have validation patients; no round is judged."
        case told.RoundStarted():
            return "" if event.phase == "evaluate" else f"Round {event.round} of {event.rounds} begins."
        case told.PrivacySpent():
            return f"Site {event.site} has spent epsilon {event.epsilon:.2f}, delta {event.delta:.1g}."
        case told.SumDiffersByOne():
            return f"The sum '{event.sum}' of round {event.round} differs by site {event.site} alone."
        case told.ScoresPutAside():
            return f"{event.modality}, round {event.round}: scores are put aside: {event.reason}"
        case told.Shortened():
            return f"{event.modality}, round {event.round}: updates of {event.sites} sites were shortened."
        case told.BudgetSpent():
            return f"{event.modality} trains no more: no privacy budget left at {', '.join(event.sites)}."
        case told.TakenBack():
            worse = f"taken back, its loss {_loss(event.loss)} is too high"
            return f"{event.modality}, round {event.round}: {worse}."
        case told.RoundFinished():
            answered = f"{len(event.answered)} of {len(event.asked)} sites"
            loss = f"validation loss {_loss(event.validation_loss)}"
            return f"{event.modality}, round {event.round}: {answered}, {loss}."
        case told.BlockFinished():
            return f"{event.modality} is trained; round {event.kept_round} is kept."
        case told.Merged():
            return f"{', '.join(event.modalities)} are merged."
        case told.Evaluated():
            return f"{len(event.sites)} sites have scored the models."
        case told.Recommended():
            return event.sentence
        case told.CheckpointDamaged():
            return f"Checkpoint '{event.checkpoint}' does not hold: {event.reason}"
        case told.Resumed():
            return f"The run broke off, and goes on from checkpoint '{event.checkpoint}'."
        case told.Finished():
            return f"The run is over: {STATUS.get(event.status, event.status)}. {event.reason}".strip()
    return ""


def is_serious(event: told.AnyEvent) -> bool:
    """Whether somebody should look at it."""
    alarming = told.SiteLeftOut | told.BudgetSpent | told.TakenBack | told.ScoresPutAside
    failed = isinstance(event, told.Finished) and event.status == "failed"
    broken = told.SumDiffersByOne | told.CheckpointDamaged | told.Resumed
    return failed or isinstance(event, alarming | broken)


def _loss(loss: float | None) -> str:
    return "none" if loss is None else f"{loss:.3f}"
