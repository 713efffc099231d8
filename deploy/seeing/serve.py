"""Where the dashboard listens: on loopback, unless there is a login and nobody can overhear it."""

import errno
import ipaddress
import socket
from pathlib import Path
from typing import final

import uvicorn
from fastapi import FastAPI

from deploy.seeing._login import read_password
from lego_core.component import Component
from lego_core.errors import PrivacyError, RunError


@final
class Listening(Component):
    """How a dashboard is reached.

    Args:
        host: Address to bind.
        port: Port to bind; 0 takes any that is free.
        password_file: A file with the password, readable by its owner alone.
        certificate: TLS certificate chain, PEM.
        private_key: Its key.
        behind_proxy: Whether a proxy in front speaks TLS with visitors.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    password_file: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None
    behind_proxy: bool = False

    @property
    def on_loopback(self) -> bool:
        """Whether nobody on another machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def address(self) -> str:
        """What to type into a browser, but for the port that was taken."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}"

    def password(self) -> str | None:
        """The password, or None where the page may be seen without one.

        Raises:
            PrivacyError: If it would be seen, or its password overheard, by others than the coordinator.
        """
        if bool(self.certificate) != bool(self.private_key):
            raise PrivacyError(
                "TLS needs both a certificate and its key. Give --certificate and --private-key."
            )
        if not self.on_loopback and self.password_file is None:
            raise PrivacyError(
                f"The dashboard would listen on {self.host}, where others can reach it, and has no login. "
                "Give --password-file and TLS, or leave out --host and look through a tunnel (ssh -L)."
            )
        if not self.on_loopback and not (self.certificate or self.behind_proxy):
            raise PrivacyError(
                f"The dashboard would listen on {self.host} without TLS, and its password could be "
                "overheard. Give --certificate and --private-key, or --behind-proxy if a proxy speaks TLS."
            )
        return read_password(self.password_file) if self.password_file else None


def bind(listening: Listening) -> socket.socket:
    """Take the port.

    Raises:
        RunError: If somebody else has it, or the address is not of this machine.
    """
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((listening.host, listening.port))
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise RunError(
                f"Port {listening.port} of {listening.host} is in use, perhaps by another dashboard. Look "
                f"there, end the program that has it, or take another: --port {listening.port + 1}."
            ) from error
        raise RunError(
            f"Nothing can listen on {listening.host}, port {listening.port} ({error.strerror}). Give an "
            "address of this machine as --host, and a port above 1023."
        ) from error
    return taken


def serve(app: FastAPI, taken: socket.socket, listening: Listening) -> None:
    """Answer visitors until somebody ends it."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ssl_certfile=listening.certificate,
        ssl_keyfile=listening.private_key,
    )
    uvicorn.Server(config).run(sockets=[taken])
