"""`leave` and `revoke`: a site is taken off the roster. After `revoke` its keys never count again."""

import json
from datetime import date
from pathlib import Path
from typing import final

from pydantic import ValidationError

from deploy._files import not_written, read, write
from deploy.coordinator import ROSTER, Coordinator
from deploy.errors import DeployError
from deploy.request import JoinRequest, read_request
from lego_core.component import Component, explain

LEFT = "left.json"


@final
class Departure(Component):
    """How a site left, as `left.json` in its old folder says.

    Args:
        on: The day (UTC).
        keys_withdrawn: Whether its keys were given up, as when they were stolen.
    """

    on: date
    keys_withdrawn: bool


def remove_site(coordinator: Coordinator, site: str, *, keys_withdrawn: bool, today: date) -> Path:
    """Take a site off the roster, and put its folder among the former sites.

    The roster comes first: whatever happens then, the site's key does not count any more.

    Args:
        coordinator: The opened folder.
        site: Its name.
        keys_withdrawn: Whether its keys must never count again.
        today: The day (UTC).

    Returns:
        The folder that was the site's, where it lies now.

    Raises:
        DeployError: If there is no such site, or something cannot be written.
    """
    sites, entries = coordinator.sites(), coordinator.entries()
    if site not in sites:
        raise DeployError(f"There is no site '{site}'; there are {sorted(sites)}. Name one of these.")
    remaining = tuple(one for one in entries if one.site != site)
    roster = coordinator.folder / ROSTER
    try:
        if not remaining:
            roster.unlink(missing_ok=True)  # a roster names one site at least
        elif remaining != entries:
            coordinator.write_roster(remaining)
        old, former = coordinator.folder / "sites" / site, coordinator.folder / "former-sites"
        departure = Departure(on=today, keys_withdrawn=keys_withdrawn)
        write(old / LEFT, (json.dumps(departure.to_plain(), indent=1) + "\n").encode())
        number = 1 + sum(one.name.rpartition("-")[0] == site for one in former.iterdir())
        return old.rename(former / f"{site}-{number}")
    except OSError as error:
        raise not_written(roster, error) from error


def keys_withdrawn(coordinator: Coordinator, asked: JoinRequest) -> bool:
    """Whether a key in this request was withdrawn once."""
    for path in sorted((coordinator.folder / "former-sites").glob(f"*/{LEFT}")):
        former = read_request(path.with_name("request.json")).request
        shared = former.identity_key == asked.identity_key or former.node_key == asked.node_key
        if shared and _read_departure(path).keys_withdrawn:
            return True
    return False


def _read_departure(path: Path) -> Departure:
    try:
        return Departure.model_validate_json(read(path, what="Record"))
    except ValidationError as error:
        raise explain(error, where=f"'former-sites/{path.parent.name}/{LEFT}'", kind=DeployError) from error
