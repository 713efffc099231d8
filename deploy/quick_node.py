"""Flower's SuperNode with short waits: it asks for work as needed, and its program starts from a fork.

`python -m deploy.quick_node FOLDER ARGUMENTS…` takes the arguments of `flower-supernode`. Like
`pinned_supernode.py`, this imports nothing of this project that would bring torch along.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.polling import poll_as_needed
from deploy.warm_starts import warm_starts

TASK_POLL = {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1"}  # seconds; of the node itself, on this machine


@contextmanager
def quick(folder: Path) -> Iterator[None]:
    """Shorten the waits of the SuperNode that is started in this process, inside the `with` block.

    Args:
        folder: A folder of this site's own for the socket.

    What cannot be shortened goes to the log, and the node then runs as Flower ships it.
    """
    log, before = logging.getLogger("flwr"), dict(os.environ)
    with ExitStack() as stack:
        try:
            poll_as_needed()
            os.environ.update(stack.enter_context(warm_starts(folder, {**TASK_POLL, **before})))
        except (ImportError, OSError) as error:
            log.warning("This node answers in Flower's usual time: %s", error)
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
