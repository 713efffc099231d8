"""The waiting process of `warm_starts`: it imports, listens, and forks; no run is ever loaded in it."""

import array
import gc
import json
import os
import random
import selectors
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import NoReturn

PRELOADED = (
    "flwr.supernode.cli.flwr_clientapp", "torch", "pydantic", "jaxtyping", "safetensors.torch", "pandas",
    "scipy.special",
)  # fmt: skip
PARENT_SECONDS = 1.0  # between looks whether the node is still there
PIECES_OF_THREE = 3 * array.array("i").itemsize


def main(path: Path) -> None:
    """Listen until told to stop, or until the site's node is gone."""
    parent = os.getppid()
    sys.path.remove(str(Path(__file__).resolve().parent))  # the command would not have it either
    for name in PRELOADED:
        __import__(name)
    gc.collect()
    gc.freeze()  # children then leave the memory of the imports alone, which they share
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unready = path.with_suffix(".unready")
    unready.unlink(missing_ok=True)
    listener.bind(str(unready))
    unready.chmod(stat.S_IRUSR | stat.S_IWUSR)
    listener.listen()
    unready.rename(path)
    waker, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    children: dict[int, socket.socket] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(waker, selectors.EVENT_READ)
        while os.getppid() == parent:
            for key, _ in selector.select(timeout=PARENT_SECONDS):
                if key.fileobj is listener:
                    line, _ = listener.accept()
                    child = _fork(line, [listener, *children.values()], [waker, woken])
                    if child:
                        children[child] = line
                        selector.register(line, selectors.EVENT_READ, data=child)
                elif key.data:
                    os.kill(key.data, signal.SIGKILL)  # whoever asked is gone
                    selector.unregister(key.fileobj)
                else:
                    os.read(waker, 4096)
            _tell_who_ended(children, selector)


def _fork(line: socket.socket, others: list[socket.socket], wakers: list[int]) -> int:
    """Make a child that becomes the command, and give its number; 0 if the question cannot be read."""
    try:
        line.settimeout(5)
        size, ancillary, _, _ = line.recvmsg(4, socket.CMSG_SPACE(PIECES_OF_THREE))
        descriptors = array.array("i", ancillary[0][2])
        with line.makefile("rb") as reader:
            asked = json.loads(reader.read(int.from_bytes(size, "big")))
    except (OSError, ValueError, IndexError):
        line.close()
        return 0
    child = os.fork()
    if child:
        for descriptor in descriptors:
            os.close(descriptor)
        return child
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for one in (line, *others):
        one.close()
    for one in wakers:
        os.close(one)
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)
        os.close(descriptor)
    return _become(asked["arguments"], asked["folder"], asked["env"])


def _become(arguments: list[str], folder: str, env: dict[str, str]) -> NoReturn:
    """Run the command, with randomness of its own, and end."""
    import numpy as np
    import torch
    from flwr.supernode.cli.flwr_clientapp import flwr_clientapp

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["flwr-clientapp", *arguments]
    random.seed()
    np.random.seed()
    torch.seed()
    code = 0
    try:
        flwr_clientapp()
    except SystemExit as ended:  # how Flower ends it, after its own exit handlers
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)  # to take all imports apart again would cost as much as half a message


def _tell_who_ended(children: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    for child in list(children):
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended:
            continue
        line = children.pop(child)
        code = os.waitstatus_to_exitcode(status)
        if line in selector.get_map():
            selector.unregister(line)
            line.send(bytes([code & 255]), socket.MSG_NOSIGNAL)
        line.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
