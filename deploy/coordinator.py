"""The coordinator's folder, which `init` makes and every other command of the coordinator opens.

federation.toml        what everybody may know; sites join with it
ca.crt                 the authority's certificate: the one thing that sites trust
server.pem             the server's certificate
roster.json            the sites and their keys, signed; there from the first approval on
governance.json        public keys of those who may sign the roster, and how many must
sites/NAME/            a site that belongs: request.json, node.pub
former-sites/NAME-…/   one that left; its keys never count again
secrets/               authority.key, server.key, bundle.key, superexec.secret, governance-N.key
flower/config.toml     by which Flower's commands find the SuperLink on this machine
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import final

from cryptography import x509

from deploy._files import check_private, read, write
from deploy.authority import Authority
from deploy.certificates import fingerprint, read_certificate, read_key
from deploy.errors import DeployError
from deploy.federation import Federation, read_federation
from deploy.request import JoinRequest, read_request
from lego_core.roster import Roster, RosterEntry, SignedRoster, read_signed_roster
from lego_core.signing import SigningKey

ROSTER = "roster.json"


@final
@dataclass(frozen=True)
class Coordinator:
    """An opened folder.

    Args:
        folder: Where it lies.
        federation: What its `federation.toml` says.
    """

    folder: Path
    federation: Federation

    @classmethod
    def open(cls, folder: Path) -> "Coordinator":
        """Open a folder, if nobody else could have read its secrets.

        Raises:
            DeployError: If it is no such folder, others may read a secret, or its parts do not fit.
        """
        federation = read_federation(folder / "federation.toml")
        secrets = folder / "secrets"
        check_private(secrets)
        for path in sorted(secrets.iterdir()):
            check_private(path)
        opened = cls(folder, federation)
        found = fingerprint(opened.authority_certificate)
        if found != federation.authority:
            raise DeployError(
                f"'ca.crt' has the fingerprint {found[:16]}…, and 'federation.toml' names "
                f"{federation.authority[:16]}…: one of them is of another federation. Bring back the pair "
                "that 'init' wrote.",
                local=str(folder),
            )
        return opened

    @property
    def authority_certificate(self) -> x509.Certificate:
        """What sites trust."""
        return read_certificate(read(self.folder / "ca.crt", what="Certificate"), what="ca.crt")

    @property
    def server_certificate(self) -> x509.Certificate:
        """What the server shows."""
        return read_certificate(read(self.folder / "server.pem", what="Certificate"), what="server.pem")

    def new_server_certificate(self, today: date) -> x509.Certificate:
        """Let the authority certify the server's key for the hosts of `federation.toml`."""
        secrets = self.folder / "secrets"
        authority = Authority.load(
            read(self.folder / "ca.crt", what="Certificate"),
            read(secrets / "authority.key", what="The authority's key"),
        )
        return authority.certify(
            self.federation.name,
            hosts=self.federation.hosts,
            key=read_key(read(secrets / "server.key", what="The server's key"), what="server.key"),
            today=today,
            days=self.federation.validity.certificate_days,
        )

    def sites(self) -> dict[str, JoinRequest]:
        """The sites that belong, by name, each with what it once asked."""
        return {one.site: one for one in self._requests("sites")}

    def former_sites(self) -> list[JoinRequest]:
        """What sites asked that have left since."""
        return list(self._requests("former-sites"))

    def _requests(self, kept: str) -> Iterator[JoinRequest]:
        for path in sorted((self.folder / kept).glob("[!.]*/request.json")):
            yield read_request(path).request

    def entries(self) -> tuple[RosterEntry, ...]:
        """Who stands on the roster; nobody before the first approval.

        Raises:
            LegoError: If there is a roster that cannot be read, or one of another federation.
        """
        path = self.folder / ROSTER
        if not path.exists():
            return ()
        roster = read_signed_roster(path).roster
        if roster.consortium != self.federation.name:
            raise DeployError(
                f"'{ROSTER}' is of '{roster.consortium}', and this is '{self.federation.name}'. Bring back "
                "the right file from your backup."
            )
        return roster.entries

    def write_roster(self, entries: tuple[RosterEntry, ...]) -> None:
        """Draw up a roster, signed with every governance key that lies here; among equals, none does."""
        signed = SignedRoster(roster=Roster(consortium=self.federation.name, entries=entries))
        for path in sorted((self.folder / "secrets").glob("governance-*.key")):
            signed = signed.signed_with(SigningKey.load(path))
        write(self.folder / ROSTER, (json.dumps(signed.to_plain(), indent=1) + "\n").encode("ascii"))

    def days_on_roster(self, today: date) -> tuple[date, date]:
        """From when until when an entry counts that is made today; clocks may be late."""
        return today - timedelta(days=1), today + timedelta(days=self.federation.validity.roster_days)

    def signatures_missing(self) -> int:
        """How many signatures of governance keys the roster still needs.

        Raises:
            LegoError: If it cannot be read.
        """
        if not (self.folder / ROSTER).exists():
            return 0
        signed = read_signed_roster(self.folder / ROSTER)
        held = sum(signed.signed_by(key) for key in self.federation.governance_keys)
        return max(0, self.federation.governance_needed - held)


def what_is_missing(coordinator: Coordinator) -> list[str]:
    """Say whom the roster still waits for, in lines to print."""
    missing = coordinator.signatures_missing()
    if not missing:
        return []
    needed = coordinator.federation.governance_needed
    return [
        f"The roster bears {needed - missing} of the {needed} signatures it needs, and no site believes it "
        "yet. Send 'roster.json' to those who govern, who sign it with:",
        "  fedlego roster sign roster.json --key THEIR-KEY",
    ]
