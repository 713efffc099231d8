"""What everybody may know of a federation: `federation.toml`, made by the coordinator, read by every site."""

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, final

import tomli_w
from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from deploy._files import read
from deploy.errors import DeployError
from lego_core.component import Component, explain
from lego_core.governance import Governance
from lego_core.signing import PublicKey

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LONGEST_NAME = 253


def _a_host(host: str) -> str:
    if is_address(host):
        return str(ipaddress.ip_address(host))
    name = host.lower()
    labels = name.split(".")
    is_name = len(name) <= LONGEST_NAME and all(LABEL.fullmatch(one) for one in labels)
    if not is_name or labels[-1].isdigit():
        raise ValueError(
            f"'{host}' is neither a name that DNS could know nor an IP address; give it without 'https://', "
            "port or '*', as in 'fl.example.org' or '192.0.2.7'"
        )
    return name


Host = Annotated[str, AfterValidator(_a_host)]
Name = Annotated[str, StringConstraints(pattern=NAME)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Port = Annotated[int, Field(ge=1, le=65535)]


@final
class Validity(Component):
    """How long things count, in days.

    Args:
        certificate_days: The server's certificate; `renew` makes another, and no site notices.
        roster_days: A site's entry on the roster; `renew` extends it.
    """

    certificate_days: int = Field(default=365, ge=1, le=825)
    roster_days: int = Field(default=365, ge=1, le=3650)


@final
class Federation(Component):
    """A federation, as `federation.toml` describes it. Nothing in it is secret.

    Args:
        format: Version of this form.
        name: Its name; the roster bears it too.
        hosts: Names and addresses under which sites reach the coordinator; they use the first.
        port: Where they reach it.
        superlink_port: Where Flower's SuperLink listens on the coordinator's machine, for this machine alone.
        authority: SHA-256 of the certificate `ca.crt`, by which a site knows the right one.
        bundle_key: Public key that models are signed with.
        governance_keys: Public keys of those who may sign the roster.
        governance_needed: How many of them must.
        validity: How long things count.
    """

    format: Literal[1] = 1
    name: Name
    hosts: tuple[Host, ...] = Field(min_length=1)
    port: Port = 8443
    superlink_port: Port = 8500
    authority: Sha256
    bundle_key: PublicKey
    governance_keys: tuple[PublicKey, ...] = Field(min_length=1)
    governance_needed: int = Field(ge=1)
    validity: Validity = Validity()

    @model_validator(mode="after")
    def _check_lists(self) -> "Federation":
        for what, named in (("hosts", self.hosts), ("governance-keys", self.governance_keys)):
            twice = sorted({one for one in named if named.count(one) > 1})
            if twice:
                raise ValueError(f"{what} names '{twice[0]}' twice; leave one")
        if self.governance_needed > len(self.governance_keys):
            raise ValueError(
                f"governance-needed is {self.governance_needed} and there are {len(self.governance_keys)} "
                "governance-keys; name more keys, or ask for fewer signatures"
            )
        if self.port == self.superlink_port:
            raise ValueError(
                f"port and superlink-port are both {self.port}; what sites reach and what listens behind it "
                "on the same machine need two"
            )
        return self

    @property
    def address(self) -> str:
        """Where a SuperNode connects to."""
        host = self.hosts[0]
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def governance(self) -> Governance:
        """Who may sign the roster, in the form that the server reads."""
        return Governance(keys=self.governance_keys, needed=self.governance_needed)

    def to_toml(self) -> bytes:
        """The bytes of `federation.toml`."""
        return tomli_w.dumps(self.to_plain()).encode()


def is_address(host: str) -> bool:
    """Whether this is an IP address, and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def read_federation(path: Path) -> Federation:
    """Read a `federation.toml`.

    Raises:
        DeployError: If it cannot be read, is not TOML, or has unknown, missing or wrong keys.
    """
    content = read(path, what="The federation's description")
    try:
        return Federation.model_validate(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeployError(
            f"'{path.name}' is not TOML ({error}). Give the file 'federation.toml' that the coordinator's "
            "'init' wrote, or mend the line.",
            local=str(path),
        ) from error
    except ValidationError as error:
        raise explain(error, where=f"'{path.name}'", kind=DeployError) from error
