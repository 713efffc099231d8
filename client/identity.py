"""Who the site is: its own key, and the roster that its consortium signed."""

from datetime import date
from pathlib import Path
from typing import final

from pydantic import Field, model_validator

from lego_core.component import Component
from lego_core.roster import Roster, read_roster
from lego_core.signing import PublicKey, SigningKey


@final
class Identity(Component):
    """The table `[identity]` of `site.toml`; paths are relative to that file.

    Args:
        key: The site's private key, which nobody else may read.
        roster: The consortium's roster.
        governance_keys: Public keys of those who may sign a roster, as the site got to know them by
            itself: not from the server.
        governance_needed: How many of them must have signed.
    """

    key: str = Field(min_length=1)
    roster: str = Field(min_length=1)
    governance_keys: tuple[PublicKey, ...] = Field(min_length=1)
    governance_needed: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _check_enough_keys(self) -> "Identity":
        different = len(set(self.governance_keys))
        if different < len(self.governance_keys):
            raise ValueError(
                "governance-keys names a key twice, and one signature of it counts once; leave one"
            )
        if self.governance_needed > different:
            raise ValueError(
                f"governance-needed is {self.governance_needed} and governance-keys names {different}; name "
                "more keys, or ask for fewer signatures"
            )
        return self

    def signing_key(self, folder: Path) -> SigningKey:
        """Read the site's private key.

        Args:
            folder: Where `site.toml` lies.

        Raises:
            PrivacyError: If it cannot be read, or others may read it.
        """
        return SigningKey.load(folder / self.key)

    def read_roster(self, folder: Path, *, today: date) -> Roster:
        """Read the roster, if it is signed as the site asks for.

        Raises:
            PrivacyError: If it is not, or no longer counts.
        """
        return read_roster(
            folder / self.roster,
            governance_keys=self.governance_keys,
            needed=self.governance_needed,
            today=today,
        )
