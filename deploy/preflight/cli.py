"""`python -m deploy`: before a run, at the site and at the coordinator."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from deploy.preflight.show import as_json, passed, show, summary
from lego_core.errors import LegoError

if TYPE_CHECKING:
    from lego_core.plan import RunPlan
    from lego_core.records import ModalitySchema

app = typer.Typer(
    help="Find what would go wrong in a run before anybody waits for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show the values of variables, and patients are values
)

PIPE_WIDTH = 120

PlanName = Annotated[str, typer.Argument(help="Name of a shipped plan, or path of a TOML file.")]
Sites = Annotated[
    int | None,
    typer.Option(min=1, help="So many sites, in place of the plan's own hospitals."),
]
Features = Annotated[
    list[str] | None,
    typer.Option(help="What a modality looks like, as in 'clinical=table:12' or 'scan=image:1:32x32'."),
]
SiteFile = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A site's site.toml, for what it holds.")
]
Data = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, help="Where the plan's dataset lies."),
]


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


@app.command(name="dry-run")
def dry_run(
    plan: PlanName,
    sites: Sites = None,
    features: Features = None,
    site_file: SiteFile = None,
    data: Data = None,
    patients: Annotated[
        int | None, typer.Option(min=1, help="Training patients of a site, for time and epsilon.")
    ] = None,
    mbit: Annotated[float | None, typer.Option(min=0.001, help="Speed of a site's link.")] = None,
    seconds_per_step: Annotated[
        float | None, typer.Option(min=1e-6, help="Of one step of all models; preflight measures it.")
    ] = None,
) -> None:
    """At the coordinator: play a whole plan without any hospital, and tell what it would come to."""
    from deploy.preflight.dry_run import play_dry  # brings torch and Flower
    from deploy.preflight.dry_run_report import Assumed, problems_of, show_dry_run

    console = Console() if Console().is_terminal else Console(width=PIPE_WIDTH)
    with plain_errors(), TemporaryDirectory() as folder:
        with Console(stderr=True).status(f"Playing plan '{plan}' with made-up patients"):
            chosen = _read_plan(plan)
            schemas = _schemas(chosen, features=features or [], site_file=site_file, data=data)
            played = play_dry(chosen, schemas, Path(folder), sites=sites)
        assumed = Assumed.of(chosen, patients, mbit, seconds_per_step)
        show_dry_run(played, console, assumed=assumed)
        raise typer.Exit(1 if problems_of(played, assumed) else 0)


@app.command(name="plan-rounds")
def plan_rounds(
    plan: PlanName,
    mbit: Annotated[
        float, typer.Option(min=0.001, help="Speed of the slowest site's link, in megabits per second.")
    ],
    seconds_per_step: Annotated[
        float,
        typer.Option(min=1e-6, help="Of one step of one model at the slowest site; preflight measures it."),
    ],
    patients: Annotated[int, typer.Option(min=1, help="Training patients of the largest site.")] = 100,
    wait: Annotated[
        float | None, typer.Option(min=1, help="Seconds that a round may take; the plan's if not given.")
    ] = None,
    latency: Annotated[float, typer.Option(min=0, help="Seconds there and back.")] = 0.05,
    margin: Annotated[float, typer.Option(min=0, max=0.9, help="Share of the wait that stays free.")] = 0.25,
    features: Features = None,
    site_file: SiteFile = None,
    data: Data = None,
) -> None:
    """Choose local steps so that a round fits the link and the wait."""
    from deploy.preflight.round_advice import advice_on_rounds  # brings torch

    with plain_errors():
        chosen = _read_plan(plan)
        lines = advice_on_rounds(
            chosen,
            _schemas(chosen, features=features or [], site_file=site_file, data=data),
            mbit=mbit,
            seconds_per_step=seconds_per_step,
            patients=patients,
            wait_seconds=wait or chosen.participation.round_seconds,
            latency_seconds=latency,
            margin=margin,
        )
        Console().print(Text("\n".join(lines)), soft_wrap=True)


def _read_plan(name: str) -> "RunPlan":
    from lego_core.plan import RunPlan

    is_file = name.endswith(".toml") or Path(name).is_file()
    return RunPlan.load(Path(name)) if is_file else RunPlan.shipped(name)


def _schemas(
    plan: "RunPlan", *, features: list[str], site_file: Path | None, data: Path | None
) -> "dict[str, ModalitySchema]":
    """What the modalities look like: as said here, else as a site or the plan's own data have them."""
    from deploy.preflight.made_up import read_features
    from simulations.egress import schemas_of

    said = dict(map(read_features, features))
    if said.keys() >= plan.modalities.keys():
        return said
    return {**schemas_of(plan, site_file=site_file, data=data), **said}


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
