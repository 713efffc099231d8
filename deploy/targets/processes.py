"""What runs at a coordinator and at a site: said once, for compose, systemd and Kubernetes.

Paths are the same inside a container and outside, so that `site.toml`, `federation.toml` and the commands of
this folder mean the same everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.approved_code import FOLDER as APPROVED
from deploy.code_bundle import ROOT
from deploy.environment import QUIET
from deploy.federation import Federation
from deploy.proxy import nginx_arguments
from deploy.superlink import SuperLinkSettings, superexec_command, superlink_command
from deploy.targets.inputs import OWN_IMAGE, CoordinatorInputs, SiteInputs

SUPERLINK_HEALTH, SUPEREXEC_HEALTH = 8501, 8502
STOP_SECONDS = 60
SITE_RETURN_SECONDS = 75  # after a SuperNode was killed, Flower refuses its key for up to 60 seconds
ASK_GRPC = (
    "import sys, grpc; from grpc_health.v1 import health_pb2 as ask, health_pb2_grpc as health; "
    "sys.exit(health.HealthStub(grpc.insecure_channel('127.0.0.1:{port}'))"
    ".Check(ask.HealthCheckRequest(), timeout=5).status != 1)"
)
ASK_HTTP = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:{port}/health', timeout=5)"


@dataclass(frozen=True)
class Process:
    """One process, and all that it may touch.

    Args:
        name: Of service, unit and container.
        does: What it is, in a few words.
        image: The image of its container.
        command: The program, by name alone, and its arguments.
        environment: All that it is told besides.
        folder: Where it runs, and may write.
        reads: Folders that it may read.
        listens: The ports that it listens at, of a loopback unless `port` is among them.
        hides: A folder inside one of these that it may not look into.
        keys: Secret files that it may read, wherever they lie.
        port: Where it may be reached from outside, if at all.
        health: A command that succeeds while all is well.
        memory_gib: More than this, and it is ended.
        return_seconds: How long it stays away after its end.
        stop_seconds: How long it may take to stop.
    """

    name: str
    does: str
    image: str
    command: tuple[str, ...]
    environment: dict[str, str]
    folder: Path
    reads: tuple[Path, ...]
    health: tuple[str, ...]
    memory_gib: int
    listens: tuple[int, ...]
    hides: Path | None = None
    keys: tuple[Path, ...] = ()
    port: int | None = None
    return_seconds: int = 5
    stop_seconds: int = STOP_SECONDS

    @property
    def needs_checkout(self) -> bool:
        """Whether it is started by this project's own code, which is in no image."""
        return self.command[0] == "python"


def coordinator_processes(inputs: CoordinatorInputs, federation: Federation) -> tuple[Process, ...]:
    """SuperLink, SuperExec and proxy; they meet on a loopback of their own."""
    folder, secrets, state = inputs.folder, inputs.folder / "secrets", inputs.state
    homes = {name: state / name for name in ("superlink", "superexec", "proxy")}
    settings = SuperLinkSettings(
        folder=homes["superlink"],
        ca=folder / "ca.crt",
        certificate=folder / "server.pem",
        key=secrets / "server.key",
        superexec_secret=secrets / "superexec.secret",
        port=federation.superlink_port,
        database=homes["superlink"] / "state.db",
        health_port=SUPERLINK_HEALTH,
    )
    return (
        Process(
            name="superlink",
            does="where sites and runs meet",
            image=inputs.image,
            command=_by_name(superlink_command(settings)),
            environment=_told(homes["superlink"]),
            folder=homes["superlink"],
            reads=(folder,),
            hides=secrets,
            keys=(secrets / "server.key", secrets / "superexec.secret"),
            health=("python", "-c", ASK_GRPC.format(port=SUPERLINK_HEALTH)),
            memory_gib=8,
            listens=(federation.superlink_port, SUPERLINK_HEALTH),
        ),
        Process(
            name="superexec",
            does="starts the coordinator's side of runs",
            image=inputs.image,
            command=(
                *_by_name(superexec_command(settings)),
                "--health-server-address",
                f"127.0.0.1:{SUPEREXEC_HEALTH}",
            ),
            environment=_told(homes["superexec"]),
            folder=homes["superexec"],
            reads=(folder,),
            hides=secrets,
            keys=(secrets / "superexec.secret", secrets / "bundle.key"),
            health=("python", "-c", ASK_GRPC.format(port=SUPEREXEC_HEALTH)),
            memory_gib=16,
            listens=(SUPEREXEC_HEALTH,),
        ),
        Process(
            name="proxy",
            does="lets SuperNodes through, and nobody else",
            image=inputs.proxy_image,
            command=("nginx", *nginx_arguments(homes["proxy"])),
            environment={},
            folder=homes["proxy"],
            reads=(folder,),
            hides=secrets,
            keys=(secrets / "server.key",),
            port=federation.port,
            health=("curl", "--silent", "--insecure", f"https://127.0.0.1:{federation.port}/"),
            memory_gib=2,
            listens=(federation.port,),
        ),
    )


def site_processes(inputs: SiteInputs) -> tuple[Process, ...]:
    """The SuperNode; nobody can reach it."""
    return (
        supernode_process(
            inputs.folder,
            reads=(inputs.data, ROOT, inputs.folder / APPROVED),
            gpu=inputs.gpu,
            runtime_port=inputs.runtime_port,
            image=inputs.image,
        ),
    )


def supernode_process(
    folder: Path, *, reads: tuple[Path, ...], gpu: str, runtime_port: int, image: str = OWN_IMAGE
) -> Process:
    """The SuperNode, kept running by `site start`."""
    start = ("python", "-m", "deploy", "site", "start", str(folder), "--runtime-port", str(runtime_port))
    return Process(
        name="supernode",
        does="trains where the data lie",
        image=image,
        command=start,
        environment={**_told(folder), **({"CUDA_VISIBLE_DEVICES": ""} if gpu == "none" else {})},
        folder=folder,
        reads=reads,
        keys=(folder / "node.key", folder / "identity.key"),
        health=("python", "-c", ASK_HTTP.format(port=runtime_port)),
        memory_gib=16,
        listens=(runtime_port,),
        return_seconds=SITE_RETURN_SECONDS,
    )


def _by_name(command: Sequence[str]) -> tuple[str, ...]:
    name = Path(command[0]).name
    return ("python" if name.startswith("python") else name, *command[1:])


def _told(folder: Path) -> dict[str, str]:
    return {**QUIET, "FLWR_HOME": str(folder / "flower"), "HOME": str(folder), "PYTHONUNBUFFERED": "1"}
