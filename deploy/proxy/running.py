"""nginx before a SuperLink, for as long as a `with` block lasts."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.proxy.render import nginx_conf
from deploy.proxy.settings import Fence
from deploy.service import Service, check_port_is_free, program
from lego_core.errors import RunError

START_SECONDS = 20.0
PAUSE_SECONDS = 0.05


def nginx_arguments(folder: Path) -> list[str]:
    """What nginx is told: to run in this folder, with the nginx.conf there, in the foreground."""
    return ["-p", str(folder), "-e", "error.log", "-c", "nginx.conf", "-g", "daemon off;"]


def nginx_command(folder: Path) -> list[str]:
    """How nginx is started."""
    return [program("nginx"), *nginx_arguments(folder)]


def check_with_nginx(folder: Path) -> None:
    """Have nginx read its configuration.

    Raises:
        RunError: If nginx does not accept it, in nginx's words.
    """
    command = [*nginx_command(folder)[:-2], "-t"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise RunError(
            "nginx does not accept its configuration. Its words are in error.log.", local=done.stderr
        )


@contextmanager
def proxy_running(fence: Fence, *, folder: Path) -> Iterator[Service]:
    """Run nginx with these settings, and leave nothing behind but its logs.

    Args:
        fence: The settings.
        folder: Where nginx runs and writes.

    Raises:
        RunError: If the port is taken, or nginx does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text(nginx_conf(fence), encoding="utf-8")
    check_with_nginx(folder)
    check_port_is_free(fence.listen, fence.port, what="The proxy")
    proxy = Service("nginx", nginx_command(folder), environment={"PATH": os.defpath}, folder=folder)
    proxy.start()
    try:
        _wait_until_listening(proxy, fence)
        yield proxy
    finally:
        proxy.stop()


def _wait_until_listening(proxy: Service, fence: Fence) -> None:
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(fence.listen, fence.listen.strip("[]"))  # noqa: S104
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((host, fence.port), timeout=1).close()
        except OSError:
            proxy.check_alive()
            if time.monotonic() > deadline:
                raise RunError(
                    f"nginx did not listen at {fence.listen}:{fence.port} within {START_SECONDS:g} seconds. "
                    "Its last words are in error.log."
                ) from None
            time.sleep(PAUSE_SECONDS)
        else:
            return
