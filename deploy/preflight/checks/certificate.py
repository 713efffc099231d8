"""Is who answers there the coordinator, by a certificate that counts?"""

from datetime import UTC
from typing import final

from cryptography import x509

from deploy._files import read
from deploy.certificates import check_certificate, read_certificate
from deploy.expiry import WARN_DAYS
from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises


@final
class Certificate(AbstractCheck):
    """The coordinator's certificate is of the trusted authority, of the right name, and counts today."""

    name = "certificate"
    asks = "Does the coordinator show a certificate that this site trusts?"
    needs = ("contact",)

    def look(self, premises: Premises) -> Finding:
        contact, now = premises.contact(), premises.wish.now().astimezone(UTC)
        authority = read_certificate(
            read(premises.wish.authority_file, what="The authority's certificate"), what="ca.crt"
        )
        shown = x509.load_der_x509_certificate(contact.certificate)
        check_certificate(shown, host=contact.host, authority=authority, now=now)
        ends = min(shown.not_valid_after_utc, authority.not_valid_after_utc)
        days = (ends - now).days
        measured, limits = {"days_left": days, "tls": contact.tls}, {"days_left": WARN_DAYS}
        if days < WARN_DAYS:
            return self.look_at(
                f"The coordinator's certificate ends in {days} days, on {ends:%Y-%m-%d}.",
                "Tell the coordinator to call 'python -m deploy renew'; a new one concerns no site.",
                measured=measured,
                limits=limits,
            )
        return self.passed(
            f"The certificate counts for '{contact.host}' until {ends:%Y-%m-%d} ({contact.tls}).",
            measured=measured,
            limits=limits,
        )
