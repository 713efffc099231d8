"""Certificates: whom they are for, checked by `cryptography` and in real TLS handshakes."""

import socket
import ssl
import threading
from datetime import UTC, date, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store
from provisioning import HOST, found, refused

from deploy.authority import AUTHORITY_DAYS, Authority
from deploy.certificates import check_certificate
from deploy.coordinator import Coordinator
from deploy.errors import DeployError

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    return Coordinator.open(found(tmp_path_factory.mktemp("certificates") / "coordinator"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Coordinator:
    return Coordinator.open(found(tmp_path_factory.mktemp("certificates") / "other"))


def check(coordinator: Coordinator, *, host: str = HOST, now: datetime = NOW) -> None:
    check_certificate(
        coordinator.server_certificate, host=host, authority=coordinator.authority_certificate, now=now
    )


# ---- what they say -------------------------------------------------------------------------------------


def test_the_certificate_is_for_servers_and_signs_no_other(coordinator):
    extensions = coordinator.server_certificate.extensions

    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_authority_lives_long_and_makes_no_further_authorities(coordinator):
    authority = coordinator.authority_certificate

    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    assert authority.not_valid_after_utc - NOW > timedelta(days=AUTHORITY_DAYS - 1)


@pytest.mark.parametrize(
    "peer",
    [
        x509.DNSName(HOST),
        x509.DNSName("localhost"),
        x509.IPAddress(ip_address("192.0.2.7")),
        x509.IPAddress(ip_address("127.0.0.1")),
    ],
)
def test_cryptography_accepts_every_name_it_is_for(coordinator, peer):
    store = Store([coordinator.authority_certificate])
    chain = PolicyBuilder().store(store).time(NOW).build_server_verifier(peer)

    assert len(chain.verify(coordinator.server_certificate, [])) == 2


# ---- our own check -------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [HOST, "FL.Example.Org", "192.0.2.7", "localhost"])
def test_the_right_names_pass(coordinator, host):
    check(coordinator, host=host)


@pytest.mark.parametrize("host", ["fl.example.com", "192.0.2.8", "example.org"])
def test_a_wrong_name_is_told_which_there_are(coordinator, host):
    with pytest.raises(DeployError, match=f"{HOST}, localhost, 192.0.2.7, 127.0.0.1, and '{host}' is none"):
        check(coordinator, host=host)


def test_an_expired_certificate_is_told_its_dates(coordinator):
    end = coordinator.server_certificate.not_valid_after_utc

    with pytest.raises(DeployError, match=f"until {end:%Y-%m-%d}.*deploy renew"):
        check(coordinator, now=end + timedelta(days=1))


def test_one_that_is_not_valid_yet_points_at_the_clock(coordinator):
    with pytest.raises(DeployError, match="Look at the clock"):
        check(coordinator, now=NOW - timedelta(days=3))


def test_a_clock_that_is_an_hour_late_does_no_harm(coordinator):
    check(coordinator, now=NOW - timedelta(hours=1))


def test_a_certificate_of_another_authority_is_seen(coordinator, other):
    with pytest.raises(DeployError, match=r"not of the authority .* get that one"):
        check_certificate(
            coordinator.server_certificate, host=HOST, authority=other.authority_certificate, now=NOW
        )


def test_an_authority_that_has_ended_certifies_nothing(coordinator):
    old = Authority.make("liver", today=date(2000, 1, 1))
    key = ec.generate_private_key(ec.SECP256R1())

    with pytest.raises(DeployError, match="The authority counts until"):
        old.certify("liver", hosts=[HOST], key=key, today=NOW.date(), days=365)


def test_no_certificate_outlives_its_authority():
    today = date(2026, 1, 1)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = Authority.make("liver", today=today - timedelta(days=AUTHORITY_DAYS - 10))

    certificate = authority.certify("liver", hosts=[HOST], key=key, today=today, days=365)

    assert certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_the_key_of_another_authority_is_not_taken(tmp_path):
    here, there = found(tmp_path / "here"), found(tmp_path / "there")
    key = here / "secrets" / "authority.key"
    key.write_bytes((there / "secrets" / "authority.key").read_bytes())

    assert "'authority.key' is not the key of 'ca.crt'" in refused("renew", here)


# ---- real handshakes -----------------------------------------------------------------------------------


def shake_hands(server: Path, *, trusted: Path, name: str) -> str:
    """Connect over loopback as a site would; the protocol, or an ssl error."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server / "server.pem", server / "secrets" / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        answering = threading.Thread(target=answer_once, args=(listening, context))
        answering.start()
        try:
            site = ssl.create_default_context(cafile=str(trusted / "ca.crt"))
            address = listening.getsockname()
            with (
                socket.create_connection(address, timeout=10) as plain,
                site.wrap_socket(plain, server_hostname=name) as secured,
            ):
                return str(secured.version())
        finally:
            answering.join(timeout=10)


def answer_once(listening: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.settimeout(10)
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            return  # the site went away


@pytest.mark.parametrize("name", [HOST, "192.0.2.7", "localhost", "127.0.0.1"])
def test_a_site_connects_under_every_right_name(coordinator, name):
    assert shake_hands(coordinator.folder, trusted=coordinator.folder, name=name) == "TLSv1.3"


@pytest.mark.parametrize("name", ["fl.example.com", "192.0.2.8"])
def test_a_site_refuses_a_server_of_another_name(coordinator, name):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake_hands(coordinator.folder, trusted=coordinator.folder, name=name)


def test_a_site_refuses_a_server_of_another_authority(coordinator, other):
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        shake_hands(coordinator.folder, trusted=other.folder, name=HOST)
