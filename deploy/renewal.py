"""`renew`: a new certificate for the server, and more time for the sites on the roster."""

from datetime import UTC, date, datetime, time
from typing import final

from deploy._files import write
from deploy.authority import LOOPBACK
from deploy.certificates import certificate_to_pem, check_certificate
from deploy.coordinator import Coordinator
from lego_core.component import Component


@final
class Renewal(Component):
    """Until when things count now.

    Args:
        certificate: The server's certificate.
        roster: Every entry of the roster; none if there is no site yet.
        roster_is_new: Whether the roster was changed; a second time on one day, it is not.
    """

    certificate: date
    roster: date | None
    roster_is_new: bool


def renew(coordinator: Coordinator, *, today: date) -> Renewal:
    """Certify the server's key anew, for the hosts that `federation.toml` names, and extend the roster.

    The authority and the server's key stay, so that no site needs another file to connect.

    Args:
        coordinator: The opened folder.
        today: The day (UTC).

    Raises:
        DeployError: If the authority has ended or its key is not there, or something cannot be written.
    """
    certificate = coordinator.new_server_certificate(today)
    for host in (*coordinator.federation.hosts, *LOOPBACK):
        check_certificate(
            certificate,
            host=host,
            authority=coordinator.authority_certificate,
            now=datetime.combine(today, time(), tzinfo=UTC),
        )
    write(coordinator.folder / "server.pem", certificate_to_pem(certificate))
    last = coordinator.days_on_roster(today)[1]
    entries = tuple(one.model_copy(update={"valid_until": last}) for one in coordinator.entries())
    is_new = entries != coordinator.entries()
    if is_new:
        coordinator.write_roster(entries)
    return Renewal(
        certificate=certificate.not_valid_after_utc.date(),
        roster=last if entries else None,
        roster_is_new=is_new,
    )
