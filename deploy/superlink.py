"""The coordinator's processes: a SuperLink that this machine alone can reach, and the SuperExec beside it.

The SuperLink serves three interfaces at one port, and asks nobody for a password. Hence it
listens on loopback, and `deploy/proxy` stands before the one interface that sites need.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from deploy.coordinator import Coordinator
from deploy.environment import flower_environment
from deploy.health import wait_until_up
from deploy.service import Service, check_port_is_free, program
from lego_core.component import Component
from lego_core.errors import RunError

LOOPBACK = "127.0.0.1"
Port = Annotated[int, Field(ge=1, le=65535)]


class SuperLinkSettings(Component):
    """What the coordinator's processes are started with.

    Args:
        folder: Where they run and write, and where the ServerApp's relative paths begin. Not a
            checkout: Python would take the checkout's code for the code of the run.
        ca: The certificate of the federation's CA.
        certificate: The SuperLink's; it must be for `localhost` and 127.0.0.1.
        key: The private key of that certificate.
        superexec_secret: A file with any bytes; who knows them may run apps.
        port: Where the SuperLink listens, on loopback.
        database: A file; without one, what sites and runs there are is forgotten at the end. Tensors
            on their way pass through it, unencrypted.
        health_port: Where the SuperLink answers `grpc.health.v1`, on loopback, if it is to.
    """

    folder: Path
    ca: Path
    certificate: Path
    key: Path
    superexec_secret: Path
    port: Port = 8000
    database: Path | None = None
    health_port: Port | None = None

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.health_port == self.port:
            raise ValueError(f"port and health-port are both {self.port}; give one of them another")
        return self

    @property
    def address(self) -> str:
        """Where `flwr` and the SuperExec find the SuperLink."""
        return f"{LOOPBACK}:{self.port}"


def settings_of(coordinator: Coordinator, *, health_port: int | None = None) -> SuperLinkSettings:
    """How a coordinator's folder says that its processes are to be started."""
    folder, secrets = coordinator.folder.absolute(), coordinator.folder.absolute() / "secrets"
    return SuperLinkSettings(
        folder=folder,
        ca=folder / "ca.crt",
        certificate=folder / "server.pem",
        key=secrets / "server.key",
        superexec_secret=secrets / "superexec.secret",
        port=coordinator.federation.superlink_port,
        database=folder / "flower" / "state.db",
        health_port=health_port,
    )


def superlink_command(settings: SuperLinkSettings) -> list[str]:
    """How the SuperLink is started."""
    command = [
        program("flower-superlink"),
        "--host", LOOPBACK,
        "--port", str(settings.port),
        "--ssl-ca-certfile", str(settings.ca),
        "--ssl-certfile", str(settings.certificate),
        "--ssl-keyfile", str(settings.key),
        "--enable-supernode-auth",
        "--isolation", "process",
        "--superexec-auth-secret-file", str(settings.superexec_secret),
        "--disable-runtime-dependency-installation",
    ]  # fmt: skip
    if settings.database is not None:
        command += ["--database", str(settings.database)]
    if settings.health_port is not None:
        command += ["--health-server-address", f"{LOOPBACK}:{settings.health_port}"]
    return command


def superexec_command(settings: SuperLinkSettings) -> list[str]:
    """How the SuperExec is started, which starts ServerApps."""
    return [
        program("flower-superexec"),
        "--runtime-api-address", settings.address,
        "--root-certificates", str(settings.ca),
        "--superexec-auth-secret-file", str(settings.superexec_secret),
    ]  # fmt: skip


@dataclass(frozen=True)
class CoordinatorServices:
    """The coordinator, running.

    Args:
        settings: What it was started with.
        superlink: Where sites and runs meet.
        superexec: What starts ServerApps.
    """

    settings: SuperLinkSettings
    superlink: Service
    superexec: Service

    def start(self) -> None:
        """Start what does not run, and wait until it is ready.

        Raises:
            RunError: If a port is taken, or a service does not come up.
        """
        settings = self.settings
        if not self.superlink.is_running:
            check_port_is_free(LOOPBACK, settings.port, what="The SuperLink")
            if settings.health_port is not None:
                check_port_is_free(LOOPBACK, settings.health_port, what="The SuperLink's health service")
            self.superlink.start()
        wait_until_up(
            self.superlink,
            host=LOOPBACK,
            port=settings.port,
            ca=settings.ca,
            grpc_port=settings.health_port,
        )
        if not self.superexec.is_running:
            self.superexec.start()

    def check_alive(self) -> None:
        """Notice the end of either.

        Raises:
            RunError: If one ended; it names the one.
        """
        self.superlink.check_alive()
        self.superexec.check_alive()

    def stop(self) -> None:
        """Stop both; the SuperExec, with its ServerApps, first."""
        self.superexec.stop()
        self.superlink.stop()


@contextmanager
def coordinator_running(settings: SuperLinkSettings) -> Iterator[CoordinatorServices]:
    """Run the coordinator's processes for as long as a `with` block lasts, and leave none behind.

    Raises:
        RunError: If a file is missing, a port is taken, or a service does not come up.
    """
    for file in (settings.ca, settings.certificate, settings.key, settings.superexec_secret):
        if not file.is_file():
            raise RunError(f"There is no file '{file.name}', which the coordinator needs.", local=str(file))
    settings.folder.mkdir(parents=True, exist_ok=True)
    environment = flower_environment(settings.folder / "flower", inherited=os.environ)
    environment.setdefault("OMP_NUM_THREADS", "1")  # sums over several threads differ in their last bits
    services = CoordinatorServices(
        settings,
        Service("superlink", superlink_command(settings), environment=environment, folder=settings.folder),
        Service("superexec", superexec_command(settings), environment=environment, folder=settings.folder),
    )
    try:
        services.start()
        yield services
    finally:
        services.stop()
