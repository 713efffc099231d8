"""`kit`: what a site needs from the coordinator, in a folder; nothing in it is secret.

The same state gives the same bytes. Another site's coming or going changes `roster.json` alone, which is why
it is not among the checksums: it carries the signatures of those who govern.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from deploy._files import new_folder, read, write
from deploy.certificates import check_certificate
from deploy.coordinator import ROSTER, Coordinator, what_is_missing
from deploy.errors import DeployError
from deploy.joining import identity_table
from deploy.unit_file import UNIT, unit_file
from lego_core.roster import read_roster

CHECKSUMS = "SHA256SUMS"

COMMANDS = """\
# Site {site} in federation {federation}

To be done at the site, in this folder. `{home}` is the folder that `python -m deploy join` made. In it lie a
checkout of this project, `lego-federation`, and a virtual environment with the extra `federation`, `venv`.

1. Is the kit whole?

       sha256sum --check SHA256SUMS

2. Is it from whom it should be? This `federation.toml` must be the one that the site joined with. Compare the
   fingerprint of the authority by telephone:

       cmp federation.toml {home}/federation.toml
       openssl x509 -in ca.crt -noout -fingerprint -sha256
       # {authority}

3. Put the files where the node looks for them. `site-additions.toml` is `[identity]` of `site.toml`:
   `join` wrote it already, so that it is needed only where `site.toml` was written by hand.

       install -m 600 ca.crt governance.json roster.json {home}/

4. Which code may run here? In `{home}/lego-federation`, look at the code bundle that the coordinator sent,
   and compare its hash by telephone:

       {home}/venv/bin/python -m deploy approve-bundle {home} lego-federation.fab

5. Once: a user of its own for the node, and the service.

       useradd --system --home-dir {home} --shell /usr/sbin/nologin lego
       chown -R lego: {home}
       install -m 644 {unit} /etc/systemd/system/
       systemctl daemon-reload
       systemctl enable --now {name}

6. What it does:

       journalctl --unit {name} --follow
       tail --follow {home}/supernode.log {home}/site.log

The node connects to {address} and to nothing else; no port of the site need be open to the outside.

When a new `roster.json` comes, step 3 for this one file is all there is to do.
"""


def make_kit(
    coordinator: Coordinator,
    site: str,
    *,
    output: Path,
    home: PurePosixPath,
    runtime_port: int,
    now: datetime,
) -> dict[str, str]:
    """Write the kit of a site.

    Args:
        coordinator: The opened folder.
        site: Its name.
        output: Where to; nothing, or an empty folder, may be there.
        home: The site's folder on its own machine.
        runtime_port: A port on the site's loopback that nothing else uses.
        now: So that nobody is sent what does not count.

    Returns:
        The checksum of every file but the roster.

    Raises:
        DeployError: If there is no such site, the server's certificate does not hold, or a file fails.
        PrivacyError: If the roster is not signed by enough of those who govern, or does not count.
    """
    federation, sites = coordinator.federation, coordinator.sites()
    if site not in sites:
        raise DeployError(
            f"There is no site '{site}'; there are {sorted(sites)}. Approve its request first: 'python -m "
            "deploy approve FOLDER REQUEST'."
        )
    missing = what_is_missing(coordinator)
    if missing:
        raise DeployError("\n".join(missing))
    for host in federation.hosts:
        check_certificate(
            coordinator.server_certificate, host=host, authority=coordinator.authority_certificate, now=now
        )
    today = now.astimezone(UTC).date()
    roster = read_roster(
        coordinator.folder / ROSTER,
        governance_keys=federation.governance_keys,
        needed=federation.governance_needed,
        today=today,
    )
    roster.check_member(site, public_key=sites[site].identity_key, today=today)
    unit = unit_file(federation, site=site, home=home, runtime_port=runtime_port)
    readme = COMMANDS.format(
        site=site,
        federation=federation.name,
        home=home,
        authority=_as_openssl_has_it(federation.authority),
        unit=UNIT,
        name=UNIT.removesuffix(".service"),
        address=federation.address,
    )
    files = {
        "README.md": readme.encode(),
        "ca.crt": read(coordinator.folder / "ca.crt", what="Certificate"),
        "federation.toml": federation.to_toml(),
        "governance.json": federation.governance.to_json(),
        UNIT: unit.encode(),
        "site-additions.toml": identity_table(federation).encode(),
    }
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    with new_folder(output) as here:
        for name, content in files.items():
            write(here / name, content)
        write(here / ROSTER, read(coordinator.folder / ROSTER, what="Roster"))
        write(here / CHECKSUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode())
    return sums


def _as_openssl_has_it(digits: str) -> str:
    return "sha256 Fingerprint=" + ":".join(digits[at : at + 2].upper() for at in range(0, len(digits), 2))
