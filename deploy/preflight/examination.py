"""All checks of a site, one after the other; what goes wrong in one never stops the others."""

import traceback
from collections.abc import Callable, Iterable, Iterator

from deploy.preflight._once import TROUBLE
from deploy.preflight.checks import CHECKS, AbstractCheck
from deploy.preflight.checks._contract import Need
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises, Wish
from lego_core.errors import LegoError

WHERE_IT_IS_SAID = {"file": "configuration", "plan": "plan", "cohort": "data", "contact": "link"}


def examine(
    wish: Wish, checks: Iterable[AbstractCheck] = CHECKS, *, say: Callable[[str], None] = lambda _: None
) -> Iterator[Finding]:
    """Make every check, and give what it has found as soon as it is known.

    Args:
        wish: What preflight is told.
        checks: Which.
        say: Is told what is being looked at.

    Guarantees:
        One finding per check, in their order, whatever the files hold and whoever answers.
    """
    premises = Premises(wish)
    for check in checks:
        say(check.asks)
        yield _found_by(check, premises)


def _found_by(check: AbstractCheck, premises: Premises) -> Finding:
    for need in check.needs:
        lacking = _lacking(need, premises)
        if lacking:
            return check.skipped(lacking)
    try:
        return check.look(premises)
    except LegoError as error:
        said, _, todo = error.public.rpartition(". ")
        return check.fix(
            f"{said}." if said else error.public, todo, details=[error.local] if error.local else ()
        )
    except TROUBLE as error:
        return check.fix(
            f"The check failed ({type(error).__name__}).",
            "Look at its details (--details), and report them without patients.",
            details=traceback.format_exception(error),
        )


def _lacking(need: Need, premises: Premises) -> str:
    """Why a check cannot be made, if what it needs is not there."""
    if need == "contact" and premises.wish.coordinator is None:
        return "No coordinator was named (--coordinator HOST:PORT)."
    try:
        getattr(premises, need)()
    except TROUBLE:
        return f"It needs what check '{WHERE_IT_IS_SAID[need]}' could not read."
    return ""
