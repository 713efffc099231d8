"""Can the site's files be read, as a run would read them?"""

from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises


@final
class Data(AbstractCheck):
    """Files are there and whole; every patient is there once, with an outcome of the task.

    The site's reader finds identifiers that are missing or doubled, texts among numbers, negative times,
    events that are neither 0 nor 1, classes that the settings do not list, and classes in another order
    than the plan's.
    """

    name = "data"
    asks = "Can all patients be read, each once, with an outcome of the task?"
    needs = ("file", "plan")

    def look(self, premises: Premises) -> Finding:
        cohort = premises.cohort()
        if not len(cohort):
            return self.fix(
                "Nobody has any of the plan's modalities here.",
                "Look at [data.modalities] of site.toml: the names there must be the plan's.",
            )
        return self.passed(f"{len(cohort):,} patients can be read.", measured={"patients": len(cohort)})
