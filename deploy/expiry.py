"""What ends soon: said by every command of the coordinator, so that nothing ends unexpectedly."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

from deploy.coordinator import Coordinator

WARN_DAYS = 30


def warnings_before_expiry(folder: Path, today: date) -> list[str]:
    """Name everything in a coordinator's folder that counts for fewer than 30 days more, or no longer.

    Args:
        folder: The coordinator's.
        today: The day (UTC).

    Raises:
        LegoError: If the folder or its roster cannot be read.
    """
    renew = f"Call 'python -m deploy renew {folder}'."
    warnings = []
    for what, end, remedy in _ends(Coordinator.open(folder), renew):
        days = (end - today).days
        if days < 0:
            warnings.append(f"{what} has ended on {end}. {remedy}")
        elif days < WARN_DAYS:
            warnings.append(f"{what} ends in {days} {'day' if days == 1 else 'days'}, on {end}. {remedy}")
    return warnings


def _ends(coordinator: Coordinator, renew: str) -> Iterator[tuple[str, date, str]]:
    yield (
        "The authority ('ca.crt')",
        coordinator.authority_certificate.not_valid_after_utc.date(),
        "Make a new federation with 'init', and let every site join it before that day.",
    )
    yield "The server's certificate", coordinator.server_certificate.not_valid_after_utc.date(), renew
    for entry in coordinator.entries():
        yield f"The roster's entry of site '{entry.site}'", entry.valid_until, renew
