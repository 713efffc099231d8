"""What preflight sees of a coordinator over a real TLS connection."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from preflighted import look, site_folder
from provisioning import done

from deploy.preflight.finding import Finding
from deploy.preflight.premises import Address
from lego_core.errors import PlanError

LATER = timedelta(days=400)  # the server's certificate counts for a year


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site_folder(tmp_path_factory.mktemp("sites") / "all")


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coordinator") / "liver"
    done("init", folder, "--name", "liver", "--host", "localhost")
    return folder


@contextmanager
def serving(
    folder: Path, *, clock: Callable[[], datetime] | None = None, at: str = "127.0.0.1"
) -> Iterator[int]:
    """A server with the coordinator's certificate, which answers every request with its time; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "secrets" / "server.key")
    with socket.create_server((at, 0)) as door:
        door.settimeout(0.2)
        over = threading.Event()

        def answer() -> None:
            while not over.is_set():
                try:
                    plain, _ = door.accept()
                except TimeoutError:
                    continue
                try:
                    plain.settimeout(2)
                    with plain, context.wrap_socket(plain, server_side=True) as tls:
                        tls.recv(4096)
                        date = f"Date: {format_datetime(clock(), usegmt=True)}\r\n" if clock else ""
                        tls.sendall(f"HTTP/1.1 403 Forbidden\r\n{date}Content-Length: 0\r\n\r\n".encode())
                except OSError:
                    continue  # who only knocks

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield door.getsockname()[1]
        finally:
            over.set()
            thread.join()


def now() -> datetime:
    return datetime.now(UTC)


def seen(
    site: Path,
    folder: Path,
    *,
    host: str = "localhost",
    here: Callable[[], datetime] = now,
    there: Callable[[], datetime] | None = now,
    authority: Path | None = None,
) -> dict[str, Finding]:
    at = "127.0.0.1" if host == "localhost" else host
    with serving(folder, clock=there, at=at) as port:
        return look(
            site, "link", "certificate", "clock", coordinator=Address(host, port), now=here,
            authority=authority or folder / "ca.crt",
        )  # fmt: skip


def test_a_coordinator_in_order_passes(site: Path, coordinator: Path) -> None:
    findings = seen(site, coordinator)

    assert {name: one.status for name, one in findings.items()} == dict.fromkeys(findings, "PASS")
    assert 360 < float(findings["certificate"].measured["days_left"]) <= 366
    assert str(findings["certificate"].measured["tls"]).startswith("TLSv1.")
    assert float(findings["link"].measured["handshake_milliseconds"]) > 0


@pytest.mark.parametrize(
    ("ahead", "status"),
    [
        (0, "PASS"),
        (2, "PASS"),
        (5, "LOOK"),
        (60, "FIX"),
        (300, "FIX"),
        (-60, "LOOK"),
        (-240, "LOOK"),
        (-400, "FIX"),
    ],
)
def test_a_clock_that_is_off_is_found(site: Path, coordinator: Path, ahead: float, status: str) -> None:
    finding = seen(site, coordinator, here=lambda: now() + timedelta(seconds=ahead))["clock"]

    assert finding.status == status
    assert (
        abs(float(finding.measured["seconds_ahead"]) - ahead)
        <= float(finding.measured["error_seconds"]) + 0.2
    )


def test_a_coordinator_that_tells_no_time_is_no_reason_to_stop(site: Path, coordinator: Path) -> None:
    assert seen(site, coordinator, there=None)["clock"].status == "SKIPPED"


def test_a_certificate_of_another_name_is_found(site: Path, coordinator: Path) -> None:
    finding = seen(site, coordinator, host="127.0.0.2")["certificate"]

    assert finding.status == "FIX"
    assert "and '127.0.0.2' is none of these" in finding.said


def test_a_certificate_that_has_ended_is_found(site: Path, coordinator: Path) -> None:
    there = seen(site, coordinator, here=lambda: now() + LATER, there=lambda: now() + LATER)

    assert "The server's certificate counts from" in there["certificate"].said
    assert there["certificate"].status == "FIX"


def test_a_certificate_that_ends_soon_is_told(site: Path, coordinator: Path) -> None:
    soon = timedelta(days=350)

    finding = seen(site, coordinator, here=lambda: now() + soon)["certificate"]

    assert finding.status == "LOOK"
    assert float(finding.measured["days_left"]) < 30


def test_a_certificate_of_another_authority_is_found(site: Path, coordinator: Path, tmp_path: Path) -> None:
    done("init", tmp_path / "other", "--name", "liver", "--host", "localhost")

    finding = seen(site, coordinator, authority=tmp_path / "other" / "ca.crt")["certificate"]

    assert "is not of the authority" in finding.said


def test_without_an_authority_nothing_is_trusted(site: Path, coordinator: Path, tmp_path: Path) -> None:
    assert seen(site, coordinator, authority=tmp_path / "ca.crt")["certificate"].status == "FIX"


def test_nobody_there_is_found(site: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    findings = look(site, "link", "certificate", "clock", coordinator=Address("127.0.0.1", port))

    assert f"Nobody listens at 127.0.0.1:{port}" in findings["link"].said
    assert [findings[name].status for name in ("certificate", "clock")] == ["SKIPPED", "SKIPPED"]


def test_a_name_that_is_none_is_found(site: Path) -> None:
    finding = look(site, "link", coordinator=Address("nobody.invalid", 8443))["link"]

    assert "The name 'nobody.invalid' cannot be resolved" in finding.said


def test_what_speaks_no_tls_is_found(site: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:

        def answer() -> None:
            for _ in range(4):
                plain, _ = door.accept()
                with plain:
                    plain.sendall(b"SSH-2.0-nothing\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        finding = look(site, "link", coordinator=Address("127.0.0.1", door.getsockname()[1]))["link"]
        thread.join()

    assert "does not speak TLS as a coordinator does" in finding.said


@pytest.mark.parametrize(
    ("text", "address"),
    [("fl.example.org:8443", ("fl.example.org", 8443)), ("[2001:db8::7]:1", ("2001:db8::7", 1))],
)
def test_addresses_are_read(text: str, address: tuple[str, int]) -> None:
    assert Address.read(text) == Address(*address)


@pytest.mark.parametrize("text", ["", "fl.example.org", ":8443", "a:b", "a:0", "a:65536", "a:-1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="is no address"):
        Address.read(text)
