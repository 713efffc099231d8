"""Flower gets to know the nodes of approved sites; what it does not know, it does not let in."""

import json

from deploy._files import write
from deploy.coordinator import Coordinator
from deploy.flower_cli import CONNECTION, FlowerCli
from deploy.flower_commands import REGISTERED
from lego_core.errors import RunError

TAKEN = "already in use"


def register_sites(coordinator: Coordinator) -> list[str]:
    """Register every approved site that is not registered yet, and give their names.

    The SuperLink must run. Flower tells a node's number once, so it is kept beside the site's key.

    Raises:
        RunError: If Flower refuses.
    """
    flower, new = FlowerCli(coordinator.folder), []
    for name in coordinator.sites():
        own = coordinator.folder / "sites" / name
        if (own / REGISTERED).is_file():
            continue
        try:
            answer = flower.ask("supernode", "register", str(own / "node.pub"), CONNECTION, "--name", name)
        except RunError as error:
            if TAKEN not in error.public:
                raise
            continue  # by hand, or before an earlier answer could be kept
        write(own / REGISTERED, (json.dumps(answer) + "\n").encode())
        new.append(name)
    return new
