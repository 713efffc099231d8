"""The commands that run something: the coordinator, and what stands before it."""

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from deploy._terminal import plain_errors, say, today, told_to_stop
from deploy.approved_code import approve_code, is_approved, last_approved
from deploy.code_bundle import build_code_bundle, read_code_bundle, what_it_contains
from deploy.coordinator import Coordinator
from deploy.demo import make_room, play
from deploy.expiry import warnings_before_expiry
from deploy.flower_cli import FlowerCli
from deploy.flower_commands import stop_command
from deploy.proxy import fence_of, nginx_conf, proxy_running
from deploy.registration import register_sites
from deploy.run import hand_over, show_result, watch_to_its_end
from deploy.superlink import coordinator_running, settings_of
from deploy.supernode import SuperNodeSettings, keep_running, supernode_of

programs = typer.Typer()
coordinator = typer.Typer(help="The coordinator's programs.", no_args_is_help=True)
programs.add_typer(coordinator, name="coordinator")
site = typer.Typer(help="A site's program.", no_args_is_help=True)
programs.add_typer(site, name="site")

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
        say(*flower_knows(register_sites(opened)))
        nginx = stack.enter_context(proxy_running(fence, folder=folder / "proxy")) if proxy else None
        if nginx:
            say(f"Sites are let in at {opened.federation.address}. Logs are in {folder}.")
        while not stopped.wait(CHECK_SECONDS):
            services.check_alive()
            if nginx:
                nginx.check_alive()
        say("Told to stop: everything is being stopped.")


@coordinator.command()
def register(folder: Folder) -> None:
    """Let Flower, which must run, know the nodes of sites that were approved since."""
    with plain_errors():
        new = register_sites(Coordinator.open(folder))
    say(*flower_knows(new) or ["There is no site that Flower does not know."])


def flower_knows(new: list[str]) -> list[str]:
    """Say which sites are new to Flower, if any are."""
    return [f"Flower knows the node of '{name}' now; the site may start it." for name in new]


@site.command("start")
def start_site(
    folder: Annotated[Path, typer.Argument(help="The site's folder.", resolve_path=True)],
    runtime_port: Annotated[
        int, typer.Option(min=1, max=65535, help="A port on this machine's loopback that nothing else uses.")
    ] = 9094,
) -> None:
    """Run the site's SuperNode until told to stop (Ctrl-C, or SIGTERM); should it end, it comes back."""
    with plain_errors(), told_to_stop() as stopped:
        settings = SuperNodeSettings.of(folder, runtime_port=runtime_port)
        node = supernode_of(settings)
        say(
            f"The site connects to {settings.address}. What it does is in {node.log} and "
            f"{folder / 'site.log'}."
        )
        try:
            keep_running(node, waits=stopped.wait, say=say)
        finally:
            node.stop()
        say("Told to stop: the SuperNode is stopped.")


@programs.command()
def bundle(
    output: Annotated[
        Path, typer.Option(help="The file to write.", resolve_path=True, dir_okay=False)
    ] = Path("lego-federation.fab"),
) -> None:
    """Pack this checkout's code into the file that sites approve; the same code gives the same bytes."""
    with plain_errors():
        built = build_code_bundle()
        output.write_bytes(built.content)
    say(
        f"{output} holds {len(built.files)} files. Its SHA-256, to compare by telephone:",
        f"  {built.sha256}",
        "Send it to every site, which looks at it with 'python -m deploy approve-bundle SITE-FOLDER FILE'.",
    )


@programs.command("approve-bundle")
def approve_bundle(
    folder: Annotated[Path, typer.Argument(help="The site's folder.", resolve_path=True)],
    file: Annotated[
        Path, typer.Argument(help="The code bundle that the coordinator sent.", resolve_path=True)
    ],
    lines: Annotated[bool, typer.Option("--lines", help="Show the changed lines too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="It was looked at already.")] = False,
) -> None:
    """At a site: show what a code bundle contains, and let it run here if somebody says so."""
    with plain_errors():
        offered = read_code_bundle(file)
        if is_approved(folder, offered.sha256):
            say(f"{offered.sha256} is approved already; nothing was changed.")
            return
        say(*what_it_contains(offered, before=last_approved(folder), lines=lines))
        if not yes and not typer.confirm(
            "Call the coordinator. Is this the hash, and may this code run here?"
        ):
            say("Nothing was changed.")
            raise typer.Exit(1)
        approve_code(folder, offered, today=today())
    say("It may run here from now on. A SuperNode that runs already need not be started again.")


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


@programs.command()
def run(
    folder: Folder,
    plan: Annotated[str, typer.Argument(help="A plan of the code bundle, by name.")],
    output: Annotated[
        Path | None,
        typer.Option(
            resolve_path=True, file_okay=False, help="Where to write; FOLDER/runs/PLAN if not given."
        ),
    ] = None,
) -> None:
    """Have the federation run a plan, show how it goes, and end with 0 if it came to a signed bundle."""
    console = Console()
    with plain_errors():
        opened = Coordinator.open(folder)
        handed = hand_over(opened, plan, output=output or folder / "runs" / plan)
        say(
            f"Flower has taken the run, as number {handed.run_id}. It goes on without this command (Ctrl-C).",
            f"Sites run it if they have approved its code, {handed.code_sha256}",
        )
        try:
            problem = watch_to_its_end(handed, flower=FlowerCli(folder), console=console)
        except KeyboardInterrupt:
            say(
                f"The run goes on, and writes to {handed.output}. To end it:",
                f"  {stop_command(folder, handed.run_id)}",
            )
            raise typer.Exit(1) from None
        if not show_result(opened, handed, problem=problem, console=console):
            raise typer.Exit(1)


@programs.command()
def demo(
    plan: Annotated[str, typer.Argument(help="A shipped plan with hospitals to play.")] = "five-hospitals",
    output: Annotated[
        Path, typer.Option(resolve_path=True, file_okay=False, help="Where everybody's folders go.")
    ] = Path("runs/deploy-demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demonstration.")] = False,
) -> None:
    """Play coordinator, proxy and sites on this machine, with real processes, to a signed bundle."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it, nothing stays behind
    console = Console()
    with plain_errors():
        make_room(output, overwrite=overwrite)
        try:
            good = play(plan, output, console=console)
        except KeyboardInterrupt:
            say("Stopped, with all that was started.")
            raise typer.Exit(1) from None
    say(f"Everybody's folders and logs: {output}")
    if not good:
        raise typer.Exit(1)
