"""The unit of a site's SuperNode in its kit: checkout and virtual environment lie in the site's folder."""

from pathlib import Path, PurePosixPath

from deploy.errors import DeployError
from deploy.federation import Federation
from deploy.targets.inputs import PLAIN_PATH
from deploy.targets.processes import supernode_process
from deploy.targets.units import unit

UNIT = "lego-supernode.service"


def unit_file(federation: Federation, *, site: str, home: PurePosixPath, runtime_port: int) -> str:
    """Write the unit file of a site.

    Args:
        federation: Whose site it is.
        site: The site's name.
        home: The site's folder on its own machine; the programs lie in its `venv/bin`, the
            checkout in `lego-federation`.
        runtime_port: A port on the site's loopback that nothing else uses.

    Raises:
        DeployError: If the folder's name has characters that systemd or Flower read otherwise.
    """
    if not PLAIN_PATH.fullmatch(str(home)):
        raise DeployError(
            f"The site's folder is '{home}', and systemd and Flower would read that otherwise. Give an "
            "absolute path of letters, digits, '_', '-', '.' and '/', as in '/srv/lego/north'."
        )
    folder = Path(home)
    checkout, environment = folder / "lego-federation", folder / "venv"
    reads = (checkout, environment, folder / "approved")
    return unit(
        supernode_process(folder, reads=reads, gpu="any", runtime_port=runtime_port),
        title=f"site {site} in federation {federation.name}",
        programs=environment / "bin",
        checkout=checkout,
        gpu="any",
        loopback_alone=False,
    )
