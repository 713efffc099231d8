"""Stands in for `flwr-clientapp`: has the waiting process fork, and ends as its child does.

It is copied beside the socket and runs without site packages, since it is started for every message.
"""

import array
import json
import os
import socket
import sys


def main() -> int:
    """Ask for a child with these arguments, and wait for its end; take the usual way if nobody answers."""
    usual = os.environ["LEGO_USUAL_START"]
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.connect(os.environ["LEGO_WARM_SOCKET"])
    except OSError:
        os.execv(usual, [usual, *sys.argv[1:]])  # noqa: S606 - the command that was asked for
    asked = json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "env": dict(os.environ)}).encode()
    descriptors = array.array("i", [0, 1, 2]).tobytes()
    line.sendmsg([len(asked).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    line.sendall(asked)
    ended = line.recv(1)
    return ended[0] if ended else 1


if __name__ == "__main__":
    sys.exit(main())
