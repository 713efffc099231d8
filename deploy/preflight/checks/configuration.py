"""Is `site.toml` one that a run could begin with?"""

from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises


@final
class Configuration(AbstractCheck):
    """Every key of the file is known and right, and the privacy that the site accepts is named."""

    name = "configuration"
    asks = "Can site.toml be read, and does it say what it must?"

    def look(self, premises: Premises) -> Finding:
        file = premises.file()
        file.rules.check_stated()
        return self.passed(f"site.toml of site '{file.name}' is whole.")
