"""Is the site who the consortium takes it for?"""

from datetime import UTC
from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises

WARN_DAYS = 30


@final
class IdentityOnRoster(AbstractCheck):
    """The roster is signed, no two sites on it have one key, and it names this one with the key it holds."""

    name = "identity"
    asks = "Does the roster name this site, with the key it holds?"
    needs = ("file",)

    def look(self, premises: Premises) -> Finding:
        file, folder = premises.file(), premises.wish.folder
        today = premises.wish.now().astimezone(UTC).date()
        if file.identity is None:
            return self._without_identity(premises)
        key = file.identity.signing_key(folder)
        roster = file.identity.read_roster(folder, today=today)
        roster.check_member(file.name, public_key=key.public, today=today)
        (entry,) = [one for one in roster.entries if one.site == file.name]
        days = (entry.valid_until - today).days
        measured, limits = {"days_left": days, "sites": len(roster.entries)}, {"days_left": WARN_DAYS}
        if days < WARN_DAYS:
            return self.look_at(
                f"The roster's entry of '{file.name}' ends in {days} days, on {entry.valid_until}.",
                "Ask the coordinator for a renewed roster.",
                measured=measured,
                limits=limits,
            )
        return self.passed(
            f"The roster of '{roster.consortium}' names '{file.name}' with the key it holds, until "
            f"{entry.valid_until}; no other of its {len(roster.entries)} sites has this key.",
            measured=measured,
            limits=limits,
        )

    def _without_identity(self, premises: Premises) -> Finding:
        plan = premises.plan()
        if plan.privacy.sum_terms is None:
            return self.skipped(f"site.toml has no [identity], and plan '{plan.name}' needs none.")
        return self.fix(
            f"site.toml has no [identity], and plan '{plan.name}' sums securely.",
            "Call 'python -m deploy join', or add the table that the kit's site-additions.toml holds.",
        )
