"""The commands that run something: the coordinator, and what stands before it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from deploy._terminal import plain_errors, say, today
from deploy.coordinator import Coordinator
from deploy.expiry import warnings_before_expiry
from deploy.proxy import fence_of, nginx_conf, proxy_running
from deploy.superlink import coordinator_running, settings_of

programs = typer.Typer()
coordinator = typer.Typer(help="The coordinator's programs.", no_args_is_help=True)
programs.add_typer(coordinator, name="coordinator")

CHECK_SECONDS = 2.0
Folder = Annotated[Path, typer.Argument(help="The coordinator's folder.", resolve_path=True)]


@coordinator.command()
def start(
    folder: Folder,
    proxy: Annotated[
        bool, typer.Option(help="Start nginx too; without it, the system's own must stand there.")
    ] = True,
    health_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Answer grpc.health.v1 at this port of loopback.")
    ] = None,
) -> None:
    """Run SuperLink, SuperExec and proxy until told to stop (Ctrl-C, or SIGTERM)."""
    with plain_errors(), ExitStack() as stack, told_to_stop() as stopped:
        opened = Coordinator.open(folder)
        say(*warnings_before_expiry(folder, today()))
        fence = fence_of(opened)
        services = stack.enter_context(coordinator_running(settings_of(opened, health_port=health_port)))
        say(f"SuperLink and SuperExec run, for this machine alone, at {services.settings.address}.")
        nginx = stack.enter_context(proxy_running(fence, folder=folder / "proxy")) if proxy else None
        if nginx:
            say(f"Sites are let in at {opened.federation.address}. Logs are in {folder}.")
        while not stopped.wait(CHECK_SECONDS):
            services.check_alive()
            if nginx:
                nginx.check_alive()
        say("Told to stop: everything is being stopped.")


@programs.command()
def proxy(folder: Folder) -> None:
    """Write nginx's configuration, for where nginx is started by the system."""
    with plain_errors():
        text, home = nginx_conf(fence_of(Coordinator.open(folder))), folder / "proxy"
        home.mkdir(mode=0o700, exist_ok=True)
        (home / "nginx.conf").write_text(text, encoding="utf-8")
    say(
        f"{home / 'nginx.conf'} is written. Test it, then start it:",
        f"  nginx -p {home} -e error.log -c nginx.conf -t",
        f"  nginx -p {home} -e error.log -c nginx.conf",
    )


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that what was started is stopped in its order."""
    told = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: told.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
