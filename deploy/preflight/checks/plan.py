"""Is the plan one that this code can run?"""

from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises


@final
class Plan(AbstractCheck):
    """The plan's file is whole; its hash is shown, so that two people can compare it."""

    name = "plan"
    asks = "Can the plan be read, and which one is it?"

    def look(self, premises: Premises) -> Finding:
        plan, sha256 = premises.plan(), premises.plan_sha256
        return self.passed(f"Plan '{plan.name}' has SHA-256 {sha256}.", measured={"sha256": sha256})
