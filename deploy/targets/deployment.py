"""A role at one institution, checked: its processes, and what stands around them."""

from dataclasses import dataclass
from pathlib import Path

from client.site import read_site_file
from deploy.approved_code import approvals
from deploy.coordinator import Coordinator
from deploy.errors import DeployError
from deploy.federation import is_address, read_federation
from deploy.proxy import fence_of, nginx_conf
from deploy.targets.inputs import CoordinatorInputs, SiteInputs
from deploy.targets.processes import Process, coordinator_processes, site_processes

SITE_KEYS = ("node.key", "identity.key")
SITE_PAPERS = ("federation.toml", "ca.crt", "governance.json", "roster.json", "site.toml")
COORDINATOR_PAPERS = ("ca.crt", "federation.toml", "governance.json", "roster.json", "server.pem")


@dataclass(frozen=True)
class Deployment:
    """What is to run at one institution.

    Args:
        title: Whose it is, for people.
        project: The same as compose and Kubernetes spell names.
        folder: The federation's folder, or the site's.
        papers: The files in there that are no secret.
        processes: What runs.
        address: Where sites come to, by name or IP address.
        port: The port there.
        nginx_conf: The proxy's configuration, at a coordinator.
        gpu: The graphics card, at a site.
        data: The tables, at a site.
        networks: Where the coordinator is, for a site's firewall.
    """

    title: str
    project: str
    folder: Path
    papers: tuple[str, ...]
    processes: tuple[Process, ...]
    address: str
    port: int
    nginx_conf: str | None = None
    gpu: str = "none"
    data: Path | None = None
    networks: tuple[str, ...] = ()

    @property
    def is_coordinator(self) -> bool:
        """Whether sites come here."""
        return self.nginx_conf is not None

    @property
    def published(self) -> str:
        """The port as compose publishes it: at one address, or at all of this machine's."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        prefix = f"{host}:" if is_address(self.address) else ""
        return f"{prefix}{self.port}:{self.port}"

    @property
    def keys(self) -> tuple[Path, ...]:
        """The secret files of all processes."""
        return tuple(sorted({key for process in self.processes for key in process.keys}))


def coordinator_deployment(inputs: CoordinatorInputs) -> Deployment:
    """A coordinator.

    Raises:
        LegoError: If the folder is no coordinator's, or its certificate does not count for the address.
    """
    coordinator = Coordinator.open(inputs.folder)
    federation = coordinator.federation
    if inputs.address not in federation.hosts:
        raise DeployError(
            f"The public address is '{inputs.address}', and the certificate counts for "
            f"{', '.join(federation.hosts)}: sites would not connect. Give one of these, or add the "
            "address to 'hosts' in federation.toml and call 'python -m deploy renew'."
        )
    return Deployment(
        title=f"coordinator of federation {federation.name}",
        project=_project(federation.name),
        folder=inputs.folder,
        papers=COORDINATOR_PAPERS,
        processes=coordinator_processes(inputs, federation),
        address=inputs.address,
        port=federation.port,
        nginx_conf=nginx_conf(fence_of(coordinator)),
    )


def site_deployment(inputs: SiteInputs) -> Deployment:
    """A site.

    Raises:
        LegoError: If the folder lacks a file of `join` or of the kit, no code was approved, or `site.toml`
            names a card too.
    """
    missing = [name for name in SITE_PAPERS + SITE_KEYS if not (inputs.folder / name).is_file()]
    if missing:
        raise DeployError(
            f"'{inputs.folder.name}' has no '{missing[0]}'. Give the folder that 'join' made, with the files "
            "of the kit in it.",
            local=str(inputs.folder),
        )
    if not approvals(inputs.folder):
        raise DeployError(
            "This site has approved no code, so no run could begin. Ask the coordinator for the code bundle, "
            f"and look at it: 'python -m deploy approve-bundle {inputs.folder} BUNDLE'."
        )
    federation = read_federation(inputs.folder / "federation.toml")
    site = read_site_file(inputs.folder / "site.toml")
    if site.gpu is not None:
        raise DeployError(
            f"'site.toml' says gpu = {site.gpu!r}, and a container numbers its cards anew. Leave 'gpu' out "
            "of 'site.toml', and give it to this command alone (--gpu)."
        )
    known = tuple(f"{host}/{128 if ':' in host else 32}" for host in federation.hosts if is_address(host))
    return Deployment(
        title=f"site {site.name} of federation {federation.name}",
        project=_project(site.name),
        folder=inputs.folder,
        papers=SITE_PAPERS,
        processes=site_processes(inputs),
        address=federation.hosts[0],
        port=federation.port,
        gpu=inputs.gpu,
        data=inputs.data,
        networks=inputs.networks or known,
    )


def _project(name: str) -> str:
    return "lego-" + "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")
