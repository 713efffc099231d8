"""A site's one process, the SuperNode: it connects outwards, runs approved code, and comes back by itself."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import Field

from client.site import SiteFile, read_site_file
from deploy._files import check_private, read, write
from deploy.approved_code import approvals
from deploy.certificates import fingerprint, read_certificate
from deploy.code_bundle import ROOT
from deploy.environment import flower_environment
from deploy.errors import DeployError
from deploy.federation import Federation, read_federation
from deploy.service import Service
from lego_core.component import Component
from lego_core.signing import SigningKey

LOOPBACK = "127.0.0.1"
RETURN_SECONDS = 75.0  # after a SuperNode was killed, Flower refuses its key for up to 60 seconds
LOOK_SECONDS = 1.0
TRUSTED = "trusted.yaml"


class SuperNodeSettings(Component):
    """What a site's SuperNode is started with.

    Args:
        folder: The site's, as `join` made it and the kit completed it.
        address: Where the coordinator lets sites in.
        device: Where the site computes.
        gpu: Which graphics card, by number or UUID; any if not given.
        threads: How many processor threads.
        runtime_port: A port of this machine's loopback that nothing else uses.
    """

    folder: Path
    address: str
    device: str = "auto"
    gpu: int | str | None = None
    threads: int = 1
    runtime_port: Annotated[int, Field(ge=1, le=65535)] = 9094

    @classmethod
    def of(cls, folder: Path, *, runtime_port: int) -> Self:
        """Read a site's folder, after a look at what can be wrong with it.

        Raises:
            DeployError: If a file of the kit is missing or of another federation, others may read a key, or
                no code was approved.
            LegoError: If `site.toml` cannot be read.
        """
        federation = read_federation(folder / "federation.toml")
        site = read_site_file(folder / "site.toml")
        _check(folder, federation, site)
        return cls(
            folder=folder,
            address=federation.address,
            device=site.device,
            gpu=site.gpu,
            threads=site.threads,
            runtime_port=runtime_port,
        )


def _check(folder: Path, federation: Federation, site: SiteFile) -> None:
    found = fingerprint(read_certificate(read(folder / "ca.crt", what="Certificate"), what="ca.crt"))
    if found != federation.authority:
        raise DeployError(
            f"'ca.crt' has the fingerprint {found[:16]}…, and 'federation.toml' names "
            f"{federation.authority[:16]}…: one of them is of another federation. Take both from the kit, "
            "and compare the fingerprint with the coordinator's by telephone."
        )
    check_private(folder / "node.key")
    if site.identity is None:
        raise DeployError(
            "'site.toml' has no [identity], so the site could prove to nobody who it is. Copy it from the "
            "kit's 'site-additions.toml'."
        )
    site.rules.check_stated()
    if not approvals(folder):
        raise DeployError(
            "This site has approved no code, so no run could begin. Ask the coordinator for the code bundle, "
            f"and look at it: 'python -m deploy approve-bundle {folder} BUNDLE'."
        )


def supernode_command(settings: SuperNodeSettings) -> list[str]:
    """How the SuperNode is started."""
    folder = settings.folder
    return [
        sys.executable, "-m", "deploy.pinned_supernode", str(folder),
        "--superlink", settings.address,
        "--root-certificates", str(folder / "ca.crt"),
        "--auth-supernode-private-key", str(folder / "node.key"),
        "--trusted-entities", str(folder / "flower" / TRUSTED),
        "--host", LOOPBACK,
        "--port", str(settings.runtime_port),
        "--node-config", f"site-file='{folder / 'site.toml'}'",
    ]  # fmt: skip


def supernode_environment(settings: SuperNodeSettings, *, inherited: Mapping[str, str]) -> dict[str, str]:
    """All of its environment: the site's own threads, and no graphics card but the one that it names."""
    environment = flower_environment(settings.folder / "flower", inherited=inherited)
    environment["OMP_NUM_THREADS"] = str(settings.threads)
    if settings.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif settings.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(settings.gpu)
    elif "CUDA_VISIBLE_DEVICES" in inherited:
        environment["CUDA_VISIBLE_DEVICES"] = inherited["CUDA_VISIBLE_DEVICES"]
    return environment


def supernode_of(settings: SuperNodeSettings) -> Service:
    """The site's SuperNode, not yet started; it writes to `supernode.log` in the site's folder."""
    home = settings.folder / "flower"
    home.mkdir(mode=0o700, exist_ok=True)
    write(home / TRUSTED, _trusted(settings.folder))
    environment = supernode_environment(settings, inherited=os.environ)
    command = supernode_command(settings)
    return Service("supernode", command, environment=environment, folder=settings.folder, runs_in=ROOT)


def keep_running(node: Service, *, waits: Callable[[float], bool], say: Callable[..., None]) -> None:
    """Start a SuperNode, and start it again whenever it ends, until told to stop.

    Args:
        node: The SuperNode.
        waits: Waits for so many seconds at most, and says whether to stop.
        say: Is told what happens, in lines.
    """
    node.start()
    while not waits(LOOK_SECONDS):
        if node.is_running:
            continue
        say(
            f"The SuperNode has ended. It comes back in {RETURN_SECONDS:g} seconds: sooner, the coordinator "
            f"would not take it. Its last words, from {node.log}:",
            *(f"  {line}" for line in node.last_lines()),
        )
        if waits(RETURN_SECONDS):
            return
        node.start()
        say("The SuperNode is back.")


def _trusted(folder: Path) -> bytes:
    """Whose signature Flower would look for if it looked: the site's own, so that it finds none on code."""
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(SigningKey.load(folder / "identity.key").public))
    line = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
    return f'this-site: "{line}"\n'.encode("ascii")
