"""Does the clock go right?"""

from typing import final

from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises

FAST = float(SYSTEM_TIME_TOLERANCE)  # Flower refuses what was signed later than this ahead of its own clock
SLOW = float(TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE)  # or longer ago than this


@final
class Clock(AbstractCheck):
    """The site's clock against the coordinator's, by the `Date` of its answer, which has whole seconds.

    Flower's node authentication signs the time: a SuperNode whose clock is five seconds fast, or five minutes
    slow, is refused.
    """

    name = "clock"
    asks = "Does this machine's clock agree with the coordinator's?"
    needs = ("contact",)

    def look(self, premises: Premises) -> Finding:
        contact = premises.contact()
        ahead, error = contact.clock_seconds, contact.clock_error_seconds
        if ahead is None:
            return self.skipped("The coordinator does not say what time it is.")
        measured = {"seconds_ahead": round(ahead, 1), "error_seconds": round(error, 1)}
        limits = {"seconds_ahead": FAST, "seconds_behind": SLOW}
        way = "ahead of" if ahead > 0 else "behind"
        said = f"The clock here is {abs(ahead):.1f} s {way} the coordinator's, give or take {error:.1f} s."
        todo = "Let this machine keep time by NTP (timedatectl set-ntp true)."
        if ahead - error >= FAST or -ahead - error >= SLOW:
            said += f" Flower refuses a node that is {FAST:g} s ahead or {SLOW:g} s behind."
            return self.fix(said, todo, measured=measured, limits=limits)
        if abs(ahead) + error >= FAST:
            return self.look_at(said, todo, measured=measured, limits=limits)
        return self.passed(said, measured=measured, limits=limits)
