"""Would the site's own rules let this plan run here?"""

from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises


@final
class Policy(AbstractCheck):
    """The rules of `site.toml` are asked as a run would ask them; a refusal names rule and both values."""

    name = "policy"
    asks = "Do the site's rules accept the plan?"
    needs = ("file", "plan")

    def look(self, premises: Premises) -> Finding:
        plan, rules = premises.plan(), premises.file().rules
        rules.check_plan(plan, sha256=premises.plan_sha256)
        if rules.plans is None:
            return self.passed(f"The rules accept plan '{plan.name}', as they would any other like it.")
        return self.passed(f"The rules accept plan '{plan.name}', which this site has approved.")
