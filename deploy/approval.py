"""`approve`: a site is put on the roster, and no other site's files are touched."""

from collections.abc import Iterator
from datetime import date
from typing import final

from deploy._files import new_folder, write
from deploy.coordinator import Coordinator
from deploy.errors import DeployError
from deploy.request import JoinRequest, SignedRequest
from lego_core.component import Component
from lego_core.roster import RosterEntry


@final
class Approval(Component):
    """What an approval came to.

    Args:
        site: Whose.
        is_new: Whether anything was changed; the same request twice changes nothing the second time.
    """

    site: str
    is_new: bool


def check_request(coordinator: Coordinator, signed: SignedRequest) -> None:
    """Make sure that a request may be approved.

    Raises:
        DeployError: If it is for another federation, a proof does not hold, the name is taken, or one of its
            keys is that of another site, of one that left, or of the federation itself.
    """
    signed.check(coordinator.federation)
    asked = signed.request
    held = coordinator.sites().get(asked.site)
    if held is not None and held != asked:
        raise DeployError(
            f"There is a site '{asked.site}' already, with the request {held.fingerprint}, and this one is "
            f"{asked.fingerprint}. If it is the same site with new keys, call 'python -m deploy leave' for "
            "the old ones first; if not, let the new site take another name."
        )
    for owner, key in _taken(coordinator, asked):
        raise DeployError(
            f"The {key} key of site '{asked.site}' is that of {owner} too, and a key counts for "
            "one site and one stay alone. Let the site make new ones ('python -m deploy join')."
        )


def approve(coordinator: Coordinator, signed: SignedRequest, *, today: date) -> Approval:
    """Put a site on the roster.

    Args:
        coordinator: The opened folder.
        signed: The request; somebody compared its fingerprint with the site's.
        today: The day (UTC).

    Raises:
        DeployError: If the request may not be approved, or something cannot be written.
    """
    check_request(coordinator, signed)
    asked, entries = signed.request, coordinator.entries()
    folder = coordinator.folder / "sites" / asked.site
    is_new = False
    if not folder.exists():
        with new_folder(folder) as here:
            write(here / "request.json", signed.to_json())
            write(here / "node.pub", f"{asked.node_key} {asked.site}\n".encode())
        is_new = True
    if all(one.site != asked.site for one in entries):
        first, last = coordinator.days_on_roster(today)
        entry = RosterEntry(
            site=asked.site, public_key=asked.identity_key, valid_from=first, valid_until=last
        )
        coordinator.write_roster((*entries, entry))
        is_new = True
    return Approval(site=asked.site, is_new=is_new)


def _taken(coordinator: Coordinator, asked: JoinRequest) -> Iterator[tuple[str, str]]:
    """Who has a key of this request already, and which. Flower itself takes no node key a second time."""
    federation = coordinator.federation
    if asked.identity_key in (*federation.governance_keys, federation.bundle_key):
        yield "the federation itself", "identity"
    others = [(f"site '{name}'", one) for name, one in coordinator.sites().items() if name != asked.site]
    gone = [(f"site '{one.site}', which has left,", one) for one in coordinator.former_sites()]
    for owner, other in (*others, *gone):
        if other.identity_key == asked.identity_key:
            yield owner, "identity"
        if other.node_key == asked.node_key:
            yield owner, "node"
