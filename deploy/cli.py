"""`python -m deploy`: set up a federation between institutions, and keep it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from deploy._files import alone_in
from deploy._terminal import plain_errors, say, today
from deploy.approval import approve as approve_request
from deploy.approval import check_request
from deploy.cli_programs import programs
from deploy.cli_targets import targets
from deploy.coordinator import Coordinator, what_is_missing
from deploy.departure import remove_site
from deploy.expiry import warnings_before_expiry
from deploy.flower_commands import list_command, unregister_command
from deploy.founding import found_federation
from deploy.joining import join_federation
from deploy.kit import make_kit
from deploy.preflight.cli import app as before_a_run
from deploy.renewal import renew as renew_all
from deploy.request import read_request
from deploy.seeing.cli import app as seeing

app = typer.Typer(
    help="Set up a federation between institutions, and keep it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show the values of variables, and keys are values
)
app.add_typer(programs)
app.add_typer(before_a_run)
app.add_typer(targets)
app.add_typer(seeing)

Folder = Annotated[Path, typer.Argument(help="The coordinator's folder.", resolve_path=True)]
Site = Annotated[str, typer.Argument(help="Name of the site.")]


@app.command()
def init(
    folder: Folder,
    name: Annotated[str, typer.Option(help="Name of the federation.")],
    host: Annotated[
        list[str], typer.Option(help="DNS name or IP address of the coordinator; may be given again.")
    ],
    port: Annotated[int, typer.Option(help="Where sites reach it.")] = 8443,
    superlink_port: Annotated[int, typer.Option(help="Where Flower listens behind it.")] = 8500,
    governance: Annotated[
        int | None, typer.Option(min=0, help="How many governance keys to make here; two, if none is named.")
    ] = None,
    governance_key: Annotated[
        list[str] | None,
        typer.Option(help="Public key of one who governs and keeps the key; may be given again."),
    ] = None,
    needed: Annotated[int | None, typer.Option(min=1, help="Signatures that a roster needs.")] = None,
) -> None:
    """Make the coordinator's folder: federation, authority, certificate, keys."""
    named = governance_key or []
    with plain_errors():
        federation = found_federation(
            folder,
            name=name,
            hosts=host,
            port=port,
            superlink_port=superlink_port,
            governors=(0 if named else 2) if governance is None else governance,
            governance_keys=named,
            needed=needed,
            today=today(),
        )
        warnings = warnings_before_expiry(folder, today())
    say(
        f"Federation '{federation.name}' is in {folder}. Sites will connect to {federation.address}.",
        f"The authority's fingerprint is {federation.authority}",
        f"The roster needs {federation.governance_needed} signatures, of {len(federation.governance_keys)} "
        "governance keys.",
        "Keep a copy of 'secrets' off this machine. Send 'federation.toml' to every site that wants to join.",
        *warnings,
    )


@app.command()
def join(
    folder: Annotated[Path, typer.Argument(help="The site's new folder.", resolve_path=True)],
    site: Annotated[str, typer.Option(help="Name of the site, as the others may read it.")],
    federation: Annotated[Path, typer.Option(help="The coordinator's federation.toml.")],
) -> None:
    """At a site: make its keys here, and a request to join."""
    with plain_errors():
        request = join_federation(folder, site=site, federation_file=federation, today=today())
    say(
        f"The keys of site '{site}' are in {folder}, and stay there.",
        f"Send '{folder / 'request.json'}' to the coordinator; nothing in it is secret. Its fingerprint, to "
        "compare by telephone:",
        f"  {request.fingerprint}",
        f"The authority of '{request.federation}', to compare too: {request.authority}",
        "Then fill in [data] of 'site.toml', and wait for the kit.",
    )


@app.command()
def approve(
    folder: Folder,
    request: Annotated[Path, typer.Argument(help="The request.json that a site sent.")],
    yes: Annotated[bool, typer.Option("--yes", help="The fingerprints were compared already.")] = False,
) -> None:
    """Put a site on the roster, after its fingerprint was compared."""
    with _at(folder) as coordinator:
        signed = read_request(request)
        check_request(coordinator, signed)
        asked = signed.request
        if asked.site not in coordinator.sites():
            say(
                f"Site '{asked.site}' asks to join '{asked.federation}', since {asked.made_on}.",
                f"  fingerprint   {asked.fingerprint}",
                f"  identity key  {asked.identity_key}",
                f"  node key      {asked.node_key}",
            )
            if not yes and not typer.confirm("Call the site. Does it read out the same fingerprint?"):
                say("Nothing was changed.")
                raise typer.Exit(1)
        approval = approve_request(coordinator, signed, today=today())
        if not approval.is_new:
            say(f"Site '{approval.site}' was approved already; nothing was changed.")
            return
        say(
            f"Site '{approval.site}' is on the roster, of {len(coordinator.entries())} now.",
            *what_is_missing(coordinator),
            "Let Flower know its node, before the site starts it; each start of the coordinator does so too:",
            f"  python -m deploy coordinator register {folder}",
        )
        if len(coordinator.entries()) > 1:
            say("Give the other sites the new 'roster.json'; they need nothing else.")


@app.command()
def leave(folder: Folder, site: Site) -> None:
    """Take a site off the roster; if it comes back, it joins with new keys."""
    _remove(folder, site)


@app.command()
def revoke(folder: Folder, site: Site) -> None:
    """Take a site off the roster because its keys were lost or stolen."""
    _remove(folder, site)
    say(
        f"Whoever holds the keys of '{site}' can speak in its name until Flower has forgotten the node and "
        "the others have the new roster: do both today."
    )


@app.command()
def renew(folder: Folder) -> None:
    """Renew the server's certificate, and extend the sites' entries on the roster."""
    with _at(folder) as coordinator:
        renewed = renew_all(coordinator, today=today())
        say(f"The server's certificate counts until {renewed.certificate}. Restart proxy and SuperLink.")
        if renewed.roster is not None:
            say(f"The roster counts until {renewed.roster}.", *what_is_missing(coordinator))
        if renewed.roster_is_new:
            say("Give every site the new 'roster.json'; they need nothing else.")


@app.command()
def kit(
    folder: Folder,
    site: Site,
    output: Annotated[Path, typer.Option(help="The folder to make.", resolve_path=True)],
    home: Annotated[
        str, typer.Option(help="The site's folder on its own machine; /srv/lego/SITE if not given.")
    ] = "",
    runtime_port: Annotated[
        int, typer.Option(min=1, max=65535, help="A port on the site's loopback that nothing else uses.")
    ] = 9094,
) -> None:
    """Make the folder that a site gets: certificates, roster, unit file, commands, checksums."""
    with _at(folder) as coordinator:
        sums = make_kit(
            coordinator,
            site,
            output=output,
            home=PurePosixPath(home or f"/srv/lego/{site}"),
            runtime_port=runtime_port,
            now=datetime.now(UTC),
        )
        say(
            f"The kit of site '{site}' is in {output}: {len(sums) + 2} files, nothing secret. Its README.md "
            "says what to do with them.",
        )


def _remove(folder: Path, site: str) -> None:
    with _at(folder) as coordinator:
        former = remove_site(coordinator, site)
        command, left = unregister_command(folder, former), len(coordinator.entries())
        say(f"Site '{site}' is off the roster, of {left} now.", *what_is_missing(coordinator))
        say("Let Flower forget its node:", f"  {command}")
        if "NODE-ID" in command:
            say("Its number is not on record; look for it here:", f"  {list_command(folder)}")
        if left:
            say("Give the other sites the new 'roster.json'; they need nothing else.")


@contextmanager
def _at(folder: Path) -> Iterator[Coordinator]:
    """Open a coordinator's folder for one command, and warn of what ends soon."""
    with plain_errors():
        coordinator = Coordinator.open(folder)
        with alone_in(folder):
            yield coordinator
            say(*warnings_before_expiry(folder, today()))
