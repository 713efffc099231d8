"""`init`: the coordinator's folder, with everything in it made here and now."""

import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path

import tomli_w
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from deploy._files import make_folder, new_folder, write
from deploy.authority import LOOPBACK, Authority
from deploy.certificates import certificate_to_pem, check_certificate, fingerprint, key_to_pem
from deploy.errors import DeployError
from deploy.federation import Federation
from lego_core.component import explain
from lego_core.signing import SigningKey

USUALLY_NEEDED = 2  # signatures on a roster, as in a site's [identity]
SECRET_BYTES = 32


def found_federation(
    folder: Path,
    *,
    name: str,
    hosts: Sequence[str],
    port: int,
    superlink_port: int,
    governors: int,
    governance_keys: Sequence[str],
    needed: int | None,
    today: date,
) -> Federation:
    """Make the folder of a coordinator, whole or not at all.

    Args:
        folder: Where; nothing, or an empty folder, may be there.
        name: Of the federation.
        hosts: Names and addresses under which sites reach the coordinator.
        port: Where they reach it.
        superlink_port: Where the SuperLink listens, behind that.
        governors: How many governance keys to make here.
        governance_keys: Public keys that others made and keep.
        needed: How many signatures a roster needs; two if there are as many keys, and one otherwise.
        today: The day (UTC).

    Raises:
        DeployError: If something is there already, or a name, host, port or number cannot be.
    """
    made = [SigningKey.make() for _ in range(governors)]
    every_key = (*governance_keys, *(one.public for one in made))
    if not every_key:
        raise DeployError(
            "0 governance keys are to be made and none is named, and a roster needs one signature at least. "
            "Make some (--governance), or name those of the people who govern (--governance-key)."
        )
    bundle_key, server_key = SigningKey.make(), ec.generate_private_key(ec.SECP256R1())
    try:
        federation = Federation(
            name=name,
            hosts=tuple(hosts),
            port=port,
            superlink_port=superlink_port,
            authority="0" * 64,
            bundle_key=bundle_key.public,
            governance_keys=every_key,
            governance_needed=min(USUALLY_NEEDED, len(every_key)) if needed is None else needed,
        )
    except ValidationError as error:
        raise explain(error, where="What 'init' was given", kind=DeployError) from error
    authority = Authority.make(federation.name, today=today)
    federation = federation.model_copy(update={"authority": fingerprint(authority.certificate)})
    certificate = authority.certify(
        federation.name,
        hosts=federation.hosts,
        key=server_key,
        today=today,
        days=federation.validity.certificate_days,
    )
    for host in (*federation.hosts, *LOOPBACK):
        now = datetime.combine(today, time(), tzinfo=UTC)
        check_certificate(certificate, host=host, authority=authority.certificate, now=now)
    with new_folder(folder) as here:
        write(here / "federation.toml", federation.to_toml())
        write(here / "ca.crt", certificate_to_pem(authority.certificate))
        write(here / "server.pem", certificate_to_pem(certificate))
        write(here / "governance.json", federation.governance.to_json())
        hidden = make_folder(here / "secrets")
        write(hidden / "authority.key", authority.key_pem)
        write(hidden / "server.key", key_to_pem(server_key))
        write(hidden / "superexec.secret", secrets.token_hex(SECRET_BYTES).encode())
        bundle_key.save(hidden / "bundle.key")
        for number, key in enumerate(made, start=1):
            key.save(hidden / f"governance-{number}.key")
        make_folder(here / "sites")
        make_folder(here / "former-sites")
        write(make_folder(here / "flower") / "config.toml", _connection(federation, folder.absolute()))
    return federation


def _connection(federation: Federation, folder: Path) -> bytes:
    """Flower's file of connections; it takes an absolute path alone."""
    connection = {
        "address": f"127.0.0.1:{federation.superlink_port}",
        "root-certificates": str(folder / "ca.crt"),
    }
    return tomli_w.dumps({"superlink": {"default": "lego", "lego": connection}}).encode()
