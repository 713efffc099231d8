"""A site's program starts in a tenth of a second, for every message, in a process of its own as before.

Flower starts the command `flwr-clientapp` anew for every message, and most of its first seconds go into
imports of Flower and torch. Here one process has them imported, and nothing else: no code of a run, no data,
no key. It is asked to fork for every message; the child is what the command would have become. A small
program named `flwr-clientapp`, first on the path of the site's node, does the asking, and takes the usual way
where nobody answers.
"""

import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

COMMAND = "flwr-clientapp"
SOCKET = "warm.sock"
START_SECONDS = 120.0
LONGEST_SOCKET_PATH = 100  # bytes; the system allows 107
HERE = Path(__file__).resolve().parent


@contextmanager
def warm_starts(folder: Path, env: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Keep a process ready to fork for as long as a `with` block lasts.

    Args:
        folder: A folder of this site's own, which nobody else may read; what is missing is made.
        env: The environment of the site's node.

    Yields:
        The environment to start the node with.

    Raises:
        OSError: If the folder's name is too long for a socket, or the process does not start.
    """
    folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    folder.chmod(stat.S_IRWXU)
    socket = folder / SOCKET
    if len(os.fsencode(socket)) > LONGEST_SOCKET_PATH:
        raise OSError(
            f"The path of the socket in the site's folder has {len(os.fsencode(socket))} bytes and may have "
            f"{LONGEST_SOCKET_PATH}. Choose a shorter folder."
        )
    usual = shutil.which(COMMAND, path=env.get("PATH"))
    if usual is None:
        raise OSError(f"The program '{COMMAND}' is not on the path. Install flwr.")
    socket.unlink(missing_ok=True)
    launcher = folder / COMMAND
    text = (HERE / "_ask_to_fork.py").read_text(encoding="utf-8")
    launcher.write_text(f"#!{sys.executable} -SE\n{text}", encoding="utf-8")
    launcher.chmod(stat.S_IRWXU)
    started = {**env, "LEGO_USUAL_START": usual, "LEGO_WARM_SOCKET": str(socket)}
    process = subprocess.Popen(
        [sys.executable, "-E", str(HERE / "_forked_starts.py"), str(socket)],
        env=started, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(socket, process)
        yield {**started, "PATH": f"{folder}{os.pathsep}{env.get('PATH', os.defpath)}"}
    finally:
        process.terminate()
        process.wait()
        socket.unlink(missing_ok=True)


def _wait_for(socket: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise OSError(
                "The process that keeps the site's imports ready did not start. See the site's console; the "
                "node can be started without it, and then every message costs some seconds more."
            )
        time.sleep(0.05)
