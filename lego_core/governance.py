"""Who may sign the roster of a consortium, and how many of them must: `governance.json`."""

import json
from datetime import date
from pathlib import Path
from typing import final

from pydantic import Field, ValidationError

from lego_core.component import Component, explain
from lego_core.errors import PrivacyError
from lego_core.roster import Roster, read_roster
from lego_core.signing import PublicKey


@final
class Governance(Component):
    """Those who govern a consortium.

    Args:
        keys: Their public keys.
        needed: How many of them must have signed a roster.
    """

    keys: tuple[PublicKey, ...] = Field(min_length=1)
    needed: int = Field(ge=1)

    def to_json(self) -> bytes:
        """The bytes of `governance.json`."""
        return (json.dumps(self.to_plain(), indent=1) + "\n").encode("ascii")

    def read_roster(self, path: Path, *, today: date) -> Roster:
        """Read a roster, if enough of them have signed it.

        Raises:
            PrivacyError: If they have not, or it cannot be read, or no longer counts.
        """
        return read_roster(path, governance_keys=self.keys, needed=self.needed, today=today)


def read_governance(path: Path) -> Governance:
    """Read a `governance.json`.

    Raises:
        PrivacyError: If it cannot be read, or names no keys.
    """
    try:
        return Governance.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PrivacyError(
            f"The list of governance keys, '{path.name}', cannot be read ({error.strerror}). Bring back the "
            "one that came with the roster: 'python -m simulations sites' and 'python -m deploy init' write "
            "both.",
            local=str(path),
        ) from error
    except ValidationError as error:
        raise explain(error, where=f"'{path.name}'", kind=PrivacyError) from error
