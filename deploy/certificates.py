"""Certificates as they lie in files: whom they are for, until when, and whether a site would accept them."""

import ipaddress
from contextlib import suppress
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from deploy.errors import DeployError
from deploy.federation import is_address


def check_certificate(
    certificate: x509.Certificate, *, host: str, authority: x509.Certificate, now: datetime
) -> None:
    """Make sure that a site which trusts the authority accepts the certificate under this name, and now.

    Raises:
        DeployError: If it is of another name, not yet or no longer valid, or of another authority.
    """
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not first <= now <= last:
        raise DeployError(
            f"The server's certificate counts from {first:%Y-%m-%d %H:%M} until {last:%Y-%m-%d %H:%M}, and "
            f"now is {now:%Y-%m-%d %H:%M} (all UTC). Look at the clock, or make a new one: 'python -m deploy "
            "renew FOLDER'."
        )
    names = names_in(certificate)
    subject = str(ipaddress.ip_address(host)) if is_address(host) else host.lower()
    if subject not in names:
        raise DeployError(
            f"The server's certificate counts for {', '.join(names)}, and '{host}' is none of these. Connect "
            "under one of these names, or add this one to hosts in federation.toml and call 'python -m "
            "deploy renew FOLDER'."
        )
    peer = x509.IPAddress(ipaddress.ip_address(host)) if is_address(host) else x509.DNSName(subject)
    verifier = PolicyBuilder().store(Store([authority])).time(now).build_server_verifier(peer)
    try:
        verifier.verify(certificate, [])
    except VerificationError as error:
        raise DeployError(
            f"The server's certificate is not of the authority {fingerprint(authority)[:16]}… that is "
            "trusted here. Compare the fingerprint of 'ca.crt' with the coordinator's, and get that one.",
            local=str(error),
        ) from error


def names_in(certificate: x509.Certificate) -> list[str]:
    """The DNS names and IP addresses that a certificate counts for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *found.get_values_for_type(x509.DNSName),
        *(str(one) for one in found.get_values_for_type(x509.IPAddress)),
    ]


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` has it: 64 hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def read_certificate(content: bytes, *, what: str) -> x509.Certificate:
    """Read a certificate from PEM.

    Raises:
        DeployError: If it is none.
    """
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise DeployError(
            f"'{what}' holds no certificate in PEM. Bring back the file that 'init' wrote.", local=str(error)
        ) from error


def read_key(content: bytes, *, what: str) -> ec.EllipticCurvePrivateKey:
    """Read a private key from PEM.

    Raises:
        DeployError: If it is none, or no elliptic-curve key.
    """
    key: object = None
    with suppress(ValueError, TypeError):  # said below
        key = serialization.load_pem_private_key(content, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DeployError(f"'{what}' holds no private key as 'init' writes it. Bring back the file it wrote.")
    return key


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_to_pem(certificate: x509.Certificate) -> bytes:
    """Write a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)
