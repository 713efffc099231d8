"""What the proxy publishes, for whom, and what it takes from them."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from lego_core.component import Component

FLOWERS_PIECE_MEGABYTES = 5
FORBIDDEN_IN_NGINX = frozenset("\"'\\$;{}\n\r\t")


def _fit_for_nginx(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"'{path}' is not a whole path; nginx would look for it beside its own file")
    if bad := sorted(FORBIDDEN_IN_NGINX & set(str(path))):
        raise ValueError(f"'{path}' has {bad} in it, which nginx reads as its own language; move the file")
    return path


HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?$")]
Address = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])$")]
Port = Annotated[int, Field(ge=1, le=65535)]
FilePath = Annotated[Path, AfterValidator(_fit_for_nginx)]


class Fence(Component):
    """What the proxy publishes, for whom, and what it takes from them.

    Args:
        host: The name that sites know the coordinator by; its certificate must have it.
        port: Where sites knock.
        listen: The addresses of this machine to listen at; an IPv6 one in brackets.
        certificate: The proxy's certificate, with those between it and the CA's.
        key: The private key of that certificate.
        superlink_host: Where the SuperLink listens; loopback, or a network of the coordinator's own.
        superlink_port: Its port.
        superlink_name: The DNS name that the SuperLink's certificate must have. Never an IP address:
            nginx does not compare those.
        superlink_ca: The certificate of the CA that the SuperLink's certificate must come from.
        allowed: The networks of the sites. Empty: anyone may knock.
        body_megabytes: The most that one call may carry. Flower sends tensors in pieces of 5 MB.
        calls_per_second: How many calls an address may make; more of them wait, at most 4 seconds.
        connections: How many an address may hold open. Sites behind one address share both limits.
        wait_seconds: How long the SuperLink may think about a call, and how long a silence in the
            middle of one may last. Flower's own clients give up after 30 seconds.
    """

    host: HostName
    port: Port = 443
    listen: Address = "0.0.0.0"  # noqa: S104 - to be reached from outside is what it is for
    certificate: FilePath
    key: FilePath
    superlink_host: Address = "127.0.0.1"
    superlink_port: Port = 8000
    superlink_name: HostName = "localhost"
    superlink_ca: FilePath
    allowed: tuple[IPv4Network | IPv6Network, ...] = ()
    body_megabytes: int = Field(default=16, gt=FLOWERS_PIECE_MEGABYTES, le=1024)
    calls_per_second: int = Field(default=200, ge=1, le=100_000)
    connections: int = Field(default=64, ge=2, le=10_000)
    wait_seconds: int = Field(default=60, ge=31, le=3600)
