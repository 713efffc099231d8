"""The bad line that other tests put between sites: it delivers in the end, and not while it is cut."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from slow_link import HERE, SlowLink

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None or not Path("/dev/net/tun").exists(),
        reason="network namespaces need root, iproute2 (apt-get install iproute2) and /dev/net/tun",
    ),
]
CONTENT = os.urandom(200_000)
FETCH = """
import hashlib, socket, sys
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
whole = hashlib.sha256()
while piece := there.recv(65536):
    whole.update(piece)
print(whole.hexdigest())
"""


def test_all_of_it_arrives_over_a_bad_line_and_none_while_it_is_cut() -> None:
    with SlowLink(mbit=4, delay=0.05, loss=0.02) as line, socket.create_server((HERE, 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        line.is_cut = True
        command = [sys.executable, "-c", FETCH, HERE, str(server.getsockname()[1])]
        with subprocess.Popen(line.at_the_other_end(command), stdout=subprocess.PIPE, text=True) as fetching:
            with pytest.raises(subprocess.TimeoutExpired):
                fetching.wait(timeout=2)
            assert line.bytes_carried == 0

            line.is_cut = False
            told, _ = fetching.communicate(timeout=60)

        assert told.strip() == hashlib.sha256(CONTENT).hexdigest()
        assert line.bytes_carried > len(CONTENT)


def serve(server: socket.socket) -> None:
    asked, _ = server.accept()
    with asked:
        asked.sendall(CONTENT)
