"""The federation's own certificate authority, which gives one certificate: the server's.

Sites trust `ca.crt` alone, so that a new server certificate is no concern of theirs.
"""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.certificates import key_to_pem, read_certificate, read_key
from deploy.errors import DeployError
from deploy.federation import is_address

AUTHORITY_DAYS = 20 * 365
LOOPBACK = ("localhost", "127.0.0.1")  # the proxy and Flower's commands reach the SuperLink under these


@final
class Authority:
    """Who vouches for the server.

    Args:
        certificate: What everybody may see.
        key: What nobody may.
    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @classmethod
    def make(cls, name: str, *, today: date) -> "Authority":
        """Make an authority that signs itself.

        Args:
            name: Of the federation.
            today: The day (UTC) it begins, less one for clocks that are late.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _named(name, "authority")
        builder = (
            _builder(subject, subject, key.public_key(), today=today, days=AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate: bytes, key: bytes) -> "Authority":
        """Read an authority from PEM.

        Raises:
            DeployError: If one of them is broken, or they do not belong together.
        """
        loaded, private = read_certificate(certificate, what="ca.crt"), read_key(key, what="authority.key")
        if loaded.public_key() != private.public_key():
            raise DeployError(
                "'authority.key' is not the key of 'ca.crt': one of them is of another federation. Bring "
                "back the pair that 'init' wrote."
            )
        return cls(loaded, private)

    @property
    def key_pem(self) -> bytes:
        """The private key, for its file."""
        return key_to_pem(self._key)

    def certify(
        self,
        name: str,
        *,
        hosts: Sequence[str],
        key: ec.EllipticCurvePrivateKey,
        today: date,
        days: int,
    ) -> x509.Certificate:
        """Give the server a certificate.

        Args:
            name: Of the federation.
            hosts: DNS names and IP addresses it counts for, besides those of the machine itself.
            key: The server's.
            today: The day (UTC) it begins, less one for clocks that are late.
            days: How long it counts, if the authority does.

        Raises:
            DeployError: If the authority itself has come to its end.
        """
        end = self.certificate.not_valid_after_utc.date()
        last = (end - today).days
        if last < 1:
            raise DeployError(
                f"The authority counts until {end}, and today is {today} (UTC). Look at the clock; if it is "
                "right, make a new federation with 'init', and let every site join anew."
            )
        own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        everywhere = list(dict.fromkeys((*hosts, *LOOPBACK)))
        builder = (
            _builder(
                _named(name, "server"),
                self.certificate.subject,
                key.public_key(),
                today=today,
                days=min(days, last),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([_alternative(one) for one in everywhere]), critical=False
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
            )
        )
        return builder.sign(self._key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, today: date, days: int
) -> x509.CertificateBuilder:
    midnight = datetime.combine(today, time(), tzinfo=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(midnight - timedelta(days=1))
        .not_valid_after(midnight + timedelta(days=days + 1, seconds=-1))
    )


def _named(name: str, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, name),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{role} of a federation"),
        ]
    )


def _alternative(host: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(host)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
