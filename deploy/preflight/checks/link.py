"""Is the coordinator there, and how far away?"""

from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises

LONG_SECONDS = 1.0


@final
class Link(AbstractCheck):
    """A connection can be opened; how long that takes, with and without TLS."""

    name = "link"
    asks = "Does the coordinator answer, and how fast?"

    def look(self, premises: Premises) -> Finding:
        if premises.wish.coordinator is None:
            return self.skipped("No coordinator was named (--coordinator HOST:PORT).")
        contact = premises.contact()
        measured = {
            "latency_milliseconds": round(contact.latency_seconds * 1000, 1),
            "handshake_milliseconds": round(contact.handshake_seconds * 1000, 1),
        }
        said = (
            f"The coordinator answers after {contact.latency_seconds * 1000:.0f} ms, over TLS after "
            f"{contact.handshake_seconds * 1000:.0f} ms more."
        )
        if contact.latency_seconds > LONG_SECONDS:
            return self.look_at(
                said, "Look at VPN and proxy between here and there.", measured=measured,
                limits={"latency_milliseconds": LONG_SECONDS * 1000},
            )  # fmt: skip
        return self.passed(said, measured=measured)
