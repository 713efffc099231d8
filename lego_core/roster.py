"""Who belongs to the consortium: sites and their public keys, signed by those who govern it.

A key is withdrawn by a new roster without it.
"""

import hashlib
import json
import os
from collections.abc import Collection
from datetime import date
from pathlib import Path
from typing import Any, Literal, final

from pydantic import Field, ValidationError, field_validator, model_validator

from lego_core.component import Component, explain
from lego_core.errors import LegoError, PrivacyError
from lego_core.signing import PublicKey, SigningKey, canonical_json, is_signed

TAG = "roster"
MOST_BYTES = 4 * 1024 * 1024


@final
class RosterEntry(Component):
    """One site.

    Args:
        site: Its name, as in its `site.toml`.
        public_key: The public half of its identity key.
        valid_from: First day on which the key counts.
        valid_until: Last day on which it does.
    """

    site: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    public_key: PublicKey
    valid_from: date
    valid_until: date

    @model_validator(mode="before")
    @classmethod
    def _check_no_modalities(cls, given: Any) -> Any:
        if isinstance(given, dict) and "modalities" in given:  # as rosters once had it; it limited nothing
            raise ValueError(
                f"the entry of site '{given.get('site')}' names modalities, {given['modalities']}, and a "
                "roster limits none: each site does, in its site.toml (key rules.modalities); take the key "
                "out of all entries, and let those who govern sign the roster anew"
            )
        return given

    @model_validator(mode="after")
    def _check_dates(self) -> "RosterEntry":
        if self.valid_until < self.valid_from:
            raise ValueError(
                f"site '{self.site}' is valid from {self.valid_from} until {self.valid_until}, which is "
                "earlier; mend the dates"
            )
        return self

    def is_valid(self, today: date) -> bool:
        """Whether the key counts on this day (UTC)."""
        return self.valid_from <= today <= self.valid_until


@final
class Roster(Component):
    """The sites of a consortium.

    Args:
        consortium: Its name.
        entries: The sites; in whatever order they are given, they are kept in that of their names.
    """

    consortium: str = Field(min_length=1)
    entries: tuple[RosterEntry, ...] = Field(min_length=1)

    @field_validator("entries")
    @classmethod
    def _check_entries(cls, entries: tuple[RosterEntry, ...]) -> tuple[RosterEntry, ...]:
        sites, keys = [one.site for one in entries], [one.public_key for one in entries]
        for what, named in (("site", sites), ("key", keys)):
            twice = sorted({one for one in named if named.count(one) > 1})
            if twice:
                raise ValueError(f"{what} '{twice[0]}' is there twice; leave one entry of it")
        return tuple(sorted(entries, key=lambda one: one.site))

    def canonical(self) -> bytes:
        """The bytes that are signed."""
        return canonical_json(self.to_plain())

    @property
    def sha256(self) -> str:
        """Hash of the canonical bytes: 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def keys_at(self, today: date) -> dict[str, bytes]:
        """The public keys that count on this day (UTC), by site."""
        return {one.site: bytes.fromhex(one.public_key) for one in self.entries if one.is_valid(today)}

    def check_member(self, site: str, *, public_key: str, today: date) -> None:
        """Make sure that a site stands on the roster with the key it holds, and today.

        Raises:
            PrivacyError: If it is not there, with another key, not yet or no longer.
        """
        found = next((one for one in self.entries if one.site == site), None)
        if found is None:
            raise PrivacyError(
                f"Site '{site}' is not among the {len(self.entries)} sites on the roster of "
                f"'{self.consortium}'. Ask those who govern it for a roster that names the site."
            )
        if found.public_key != public_key:
            raise PrivacyError(
                f"Site '{site}' holds the key {public_key[:12]}… and the roster of '{self.consortium}' names "
                f"{found.public_key[:12]}…. Use the key that was given to those who govern it, or give them "
                "the new one."
            )
        if not found.is_valid(today):
            raise PrivacyError(
                f"The key of site '{site}' counts from {found.valid_from} until {found.valid_until}, and "
                f"today is {today} (UTC). Look at the clock, or ask those who govern '{self.consortium}' for "
                "a new roster."
            )


@final
class SignedRoster(Component):
    """A roster as it lies in a file.

    Args:
        format: Version of this form.
        roster: The sites.
        signatures: By the public key of who signed.
    """

    format: Literal[1] = 1
    roster: Roster
    signatures: dict[str, str] = Field(default_factory=dict)

    def signed_by(self, key: str) -> bool:
        """Whether there is a signature of this key, and it holds."""
        signature = self.signatures.get(key, "")
        return bool(signature) and is_signed(self.roster.canonical(), signature, tag=TAG, by=key)

    def signed_with(self, key: SigningKey) -> "SignedRoster":
        """The same with one more signature.

        Raises:
            PrivacyError: If it bears a signature that does not hold: the roster was changed since.
        """
        broken = [signer for signer in self.signatures if not self.signed_by(signer)]
        if broken:
            raise PrivacyError(_not_held(self.roster, broken[0]))
        signature = key.sign(self.roster.canonical(), tag=TAG)
        return SignedRoster(roster=self.roster, signatures={**self.signatures, key.public: signature})

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            PrivacyError: If it cannot be written.
        """
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            with unfinished.open("w", encoding="ascii") as file:
                file.write(json.dumps(self.to_plain(), indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise PrivacyError(
                f"Roster '{path.name}' cannot be written ({error.strerror}). Make room, or mend the folder's "
                "rights.",
                local=str(path),
            ) from error


def read_roster(path: Path, *, governance_keys: Collection[str], needed: int, today: date) -> Roster:
    """Read a roster, after checking who signed it.

    Args:
        path: The file.
        governance_keys: Public keys of those who may sign.
        needed: How many of them must have signed.
        today: The day (UTC), so that an expired roster is seen.

    Raises:
        PrivacyError: If it cannot be read, is not signed by enough of them, bears a signature in the name of
            one of them that does not hold, or no site on it is valid today.
    """
    keys = set(governance_keys)
    if not 1 <= needed <= len(keys):
        raise PrivacyError(
            f"{needed} signatures of {len(keys)} governance keys are asked for on roster '{path.name}'. Ask "
            "for one at least, and for no more than there are keys."
        )
    signed = read_signed_roster(path)
    roster = signed.roster
    for key in sorted(keys & signed.signatures.keys()):
        if not signed.signed_by(key):
            raise PrivacyError(_not_held(roster, key))
    found = len(keys & signed.signatures.keys())
    if found < needed:
        raise PrivacyError(
            f"The roster of '{roster.consortium}' bears {found} signatures of the {len(keys)} governance "
            f"keys known here, and {needed} are needed. Ask those who govern it to sign it ('fedlego roster "
            "sign')."
        )
    if not roster.keys_at(today):
        first = min(one.valid_from for one in roster.entries)
        last = max(one.valid_until for one in roster.entries)
        raise PrivacyError(
            f"No site on the roster of '{roster.consortium}' is valid today, {today} (UTC): its keys count "
            f"between {first} and {last}. Look at the clock, or ask those who govern it for a new roster."
        )
    return roster


def read_signed_roster(path: Path) -> SignedRoster:
    """Read a file that holds a roster, signed or not yet, and believe none of it.

    Raises:
        PrivacyError: If it cannot be read or has another form.
    """
    try:
        with path.open("rb") as file:
            plain: Any = json.loads(file.read(MOST_BYTES))
    except OSError as error:
        raise PrivacyError(
            f"Roster '{path.name}' cannot be read ({error.strerror}). Give the path of the consortium's "
            "roster.",
            local=str(path),
        ) from error
    except (ValueError, RecursionError) as error:
        raise PrivacyError(
            f"Roster '{path.name}' is not JSON. Fetch it again from those who govern the consortium.",
            local=f"{path}: {error}",
        ) from error
    if isinstance(plain, dict) and "entries" in plain:
        plain = {"roster": plain}
    try:
        return SignedRoster.model_validate(plain)
    except ValidationError as error:
        raise _wrong_form(error, path) from error


def sign_roster(path: Path, *, key: SigningKey) -> SignedRoster:
    """Add a signature to the file of a roster.

    Raises:
        PrivacyError: If it cannot be read or written, or was changed since another signed it.
    """
    signed = read_signed_roster(path).signed_with(key)
    signed.save(path)
    return signed


def _wrong_form(error: ValidationError, path: Path) -> LegoError:
    return explain(error, where=f"Roster '{path.name}'", kind=PrivacyError)


def _not_held(roster: Roster, key: str) -> str:
    return (
        f"The roster of '{roster.consortium}' bears a signature of key {key[:12]}… that does not hold: it is "
        "forged, or the roster was changed since. Trust nothing on it, and fetch it again from those who "
        "govern the consortium."
    )
