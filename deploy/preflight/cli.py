"""`python -m deploy.preflight`: before a run, at the site and at the coordinator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from deploy.preflight.show import as_json, passed, show, summary
from lego_core.errors import LegoError

app = typer.Typer(
    help="Find what would go wrong in a run before anybody waits for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show the values of variables, and patients are values
)


@app.command()
def preflight(
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, resolve_path=True, help="The site's folder.")
    ],
    plan: Annotated[str, typer.Option(help="Name of a shipped plan, or path of a TOML file.")],
    coordinator: Annotated[
        str | None,
        typer.Option(help="Its address, HOST:PORT; without it, nothing of the network is looked at."),
    ] = None,
    authority: Annotated[
        Path | None, typer.Option(help="The federation's ca.crt; the one in the folder if not given.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="An earlier run's bundle, whose features the data must have.")
    ] = None,
    runtime_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The SuperNode's --port, from the unit file.")
    ] = None,
    mbit: Annotated[
        float | None, typer.Option(min=0.001, help="Speed of the link in megabits per second.")
    ] = None,
    constraints: Annotated[
        Path | None, typer.Option(help="The federation's constraints.txt; the code's own if not given.")
    ] = None,
    details: Annotated[
        bool, typer.Option("--details", help="Show paths, patients and values. For this screen alone.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON, for machines.")] = False,
) -> None:
    """At a site: look at everything that a run would need. Nothing is sent but 'GET /health'."""
    from deploy.preflight.examination import examine  # brings torch and Flower
    from deploy.preflight.premises import CONSTRAINTS, Address, Wish

    console, findings = Console(), []
    with plain_errors():
        wish = Wish(
            folder / "site.toml",
            plan,
            coordinator=Address.read(coordinator) if coordinator else None,
            authority=authority,
            bundle=bundle,
            runtime_port=runtime_port,
            mbit=mbit,
            constraints=constraints or CONSTRAINTS,
        )
        with Console(stderr=True).status("") as status:
            for finding in examine(wish, say=lambda asked: status.update(Text(asked))):
                findings.append(finding)
                if not json:
                    show(finding, console, details=details)
    if json:
        typer.echo(as_json(findings, details=details))
    else:
        console.print(Text(summary(findings)), soft_wrap=True)
    raise typer.Exit(0 if passed(findings) else 1)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say an error of ours as the sentences it is; any other keeps its traceback."""
    try:
        yield
    except LegoError as error:
        console = Console(stderr=True)
        for line in (error.public, error.local):
            if line:
                console.print(Text(line), soft_wrap=True)
        raise typer.Exit(2) from None
