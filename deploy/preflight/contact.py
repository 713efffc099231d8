"""The way to the coordinator, as far as it can be measured without an account: no data go over it."""

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median
from typing import final

from lego_core.errors import RunError

TRIES = 3
WAIT_SECONDS = 10.0
LONGEST_ANSWER = 65536
DATE_ERROR_SECONDS = 1.0  # `Date` is cut to whole seconds, and the SuperLink's own is up to a second old


@final
@dataclass(frozen=True)
class Contact:
    """What was measured.

    Args:
        host: Where.
        certificate: The certificate that was shown, in DER; nobody has trusted it yet.
        latency_seconds: Time to open a connection: one way there and back.
        handshake_seconds: Time until it was encrypted.
        tls: The version of TLS.
        clock_seconds: How far the clock here is ahead of the one there; None if the coordinator does not tell
            the time.
        clock_error_seconds: How far that may be wrong.
    """

    host: str
    certificate: bytes
    latency_seconds: float
    handshake_seconds: float
    tls: str
    clock_seconds: float | None
    clock_error_seconds: float


def make_contact(host: str, port: int, *, now: Callable[[], datetime]) -> Contact:
    """Connect a few times, look at the certificate, and ask what time it is there.

    The certificate is looked at, not relied on: nothing but `GET /health` is sent.

    Raises:
        RunError: If nobody is there, or it is nobody who speaks TLS.
    """
    try:
        latency = median(_time_to_connect(host, port) for _ in range(TRIES))
        return _look(host, port, latency=latency, now=now)
    except socket.gaierror as error:
        raise RunError(
            f"The name '{host}' cannot be resolved ({error.strerror}). Look at its spelling and at this "
            "machine's DNS."
        ) from error
    except ConnectionRefusedError as error:
        raise RunError(
            f"Nobody listens at {host}:{port}. Look at the port, and ask the coordinator whether its proxy "
            "runs."
        ) from error
    except TimeoutError as error:
        raise RunError(
            f"{host}:{port} does not answer within {WAIT_SECONDS:g} seconds. Look whether this site's "
            "firewall "
            "lets connections out to it."
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(
            f"What listens at {host}:{port} does not speak TLS as a coordinator does "
            f"({type(error).__name__}). "
            "Look at the port, and whether something between here and there changes connections.",
            local=str(error),
        ) from error


def _time_to_connect(host: str, port: int) -> float:
    started = time.monotonic()
    socket.create_connection((host, port), timeout=WAIT_SECONDS).close()
    return time.monotonic() - started


def _look(host: str, port: int, *, latency: float, now: Callable[[], datetime]) -> Contact:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the checks judge it, and say what is wrong with it
    with socket.create_connection((host, port), timeout=WAIT_SECONDS) as plain:
        started = time.monotonic()
        with context.wrap_socket(plain, server_hostname=host) as tls:
            handshake = time.monotonic() - started
            certificate, version = tls.getpeercert(binary_form=True), tls.version()
            asked, before = time.monotonic(), now()
            tls.sendall(f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            there = _date_in(_head_of(tls))
            took = time.monotonic() - asked
    if certificate is None:
        raise ValueError("no certificate")
    ahead = None if there is None else (before - there).total_seconds() + took / 2 - DATE_ERROR_SECONDS
    return Contact(host, certificate, latency, handshake, version or "", ahead, DATE_ERROR_SECONDS + took / 2)


def _head_of(tls: ssl.SSLSocket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < LONGEST_ANSWER:
        more = tls.recv(4096)
        if not more:
            break
        head += more
    return head


def _date_in(head: bytes) -> datetime | None:
    """The coordinator's time, cut to whole seconds; None if it does not say."""
    for line in head.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"date":
            try:
                return parsedate_to_datetime(value.decode("ascii").strip()).astimezone(UTC)
            except ValueError:
                return None
    return None
