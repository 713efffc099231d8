"""Flower's SuperNode with short waits: it asks for work as needed, and its program starts from a fork.

`python -m deploy.quick_node FOLDER ARGUMENTS…` takes the arguments of `flower-supernode`.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.polling import poll_as_needed
from deploy.warm_starts import warm_starts

TASK_POLL = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1"}  # seconds; of the node itself, on this machine


@contextmanager
def quick(folder: Path) -> Iterator[None]:
    """Shorten the waits of the SuperNode that is started in this process, inside the `with` block.

    Args:
        folder: A folder of this site's own for the socket.

    Raises:
        RunError: If the installed Flower is another one, or the waiting process does not start.
    """
    poll_as_needed()
    before = dict(os.environ)
    with warm_starts(folder, {**TASK_POLL, **before}) as env:
        os.environ.update(env)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def main() -> None:
    """Start the node."""
    from flwr.supernode.cli.flower_supernode import flower_supernode  # needs the environment of a node

    folder = Path(sys.argv[1])
    sys.argv = ["flower-supernode", *sys.argv[2:]]
    with quick(folder):
        flower_supernode()


if __name__ == "__main__":
    main()
