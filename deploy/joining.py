"""`join`: at the site. Both private keys are made here, and never leave."""

import secrets
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from client.identity import Identity
from deploy._files import new_folder, write
from deploy.errors import DeployError
from deploy.federation import Federation, read_federation
from deploy.node_key import make_node_key
from deploy.request import JoinRequest, SignedRequest
from lego_core.component import explain
from lego_core.signing import SigningKey

LARGEST_SEED = 2**31

SKELETON = """\
# What this site tells its own node. Nobody else reads this file.
name = "{site}"
device = "auto"
threads = 4
split-seed = {seed}  # with [split], decides who is kept for testing, whatever plan is run; leave it as it is

[split]
train = 0.7
validation = 0.15
test = 0.15

[rules]
# No run begins before this is said. Leave out what this site does not accept; "no-privacy" is the third kind.
privacy = ["secure-sum", "patient-dp"]

{identity}
# Replace what follows with this site's own tables; paths are relative to this file.
[data]
kind = "tables"
patients = "patients.csv"
id-column = "patient_id"

[data.outcome]
kind = "survival"
event-column = "event"
time-column = "time_days"

[data.modalities.clinical]
layout = "table"
file = "clinical.csv"
"""


def join_federation(folder: Path, *, site: str, federation_file: Path, today: date) -> JoinRequest:
    """Make a site's folder: its two keys, its `site.toml` to be filled in, and the request to send.

    Args:
        folder: Where; nothing, or an empty folder, may be there.
        site: The site's name.
        federation_file: The coordinator's `federation.toml`.
        today: The day (UTC).

    Raises:
        DeployError: If something is there already, the name cannot be, or the file cannot be read.
    """
    federation = read_federation(federation_file)
    identity, (node_private, node_public) = SigningKey.make(), make_node_key()
    try:
        request = JoinRequest(
            federation=federation.name,
            authority=federation.authority,
            site=site,
            identity_key=identity.public,
            node_key=node_public,
            made_on=today,
        )
    except ValidationError as error:
        raise explain(error, where="What 'join' was given", kind=DeployError) from error
    signed = SignedRequest.of(request, identity=identity, node=node_private)
    seed = secrets.randbelow(LARGEST_SEED)
    with new_folder(folder) as here:
        identity.save(here / "identity.key")
        write(here / "node.key", node_private)
        write(here / "federation.toml", federation.to_toml())
        write(here / "request.json", signed.to_json())
        text = SKELETON.format(site=site, seed=seed, identity=identity_table(federation))
        write(here / "site.toml", text.encode())
    return request


def identity_table(federation: Federation) -> str:
    """The table `[identity]` of a site's `site.toml`."""
    identity = Identity(
        key="identity.key",
        roster="roster.json",
        governance_keys=federation.governance_keys,
        governance_needed=federation.governance_needed,
    )
    keys = "".join(f'    "{key}",\n' for key in identity.governance_keys)
    return (
        "[identity]\n"
        f'key = "{identity.key}"\n'
        f'roster = "{identity.roster}"\n'
        f"governance-needed = {identity.governance_needed}\n"
        "# Compare these with those who govern, by telephone: whoever holds them says who belongs.\n"
        f"governance-keys = [\n{keys}]\n"
    )
