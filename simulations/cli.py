"""`python -m simulations`: rehearse a federation on one machine."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lego_core.errors import LegoError
from lego_core.plan import RunPlan, shipped_plans
from simulations.benchmarks.cli import bench
from simulations.run import check_begun, make_room, on_disk, prepare, run_federation

app = typer.Typer(
    help="Rehearse a federation of hospitals on one machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show the values of variables, and patients are values
)
app.add_typer(bench, name="bench")

PIPE_WIDTH = 120

PlanName = Annotated[str, typer.Argument(help="Name of a shipped plan, or path of a TOML file.")]
Seed = Annotated[int | None, typer.Option(min=0, help="Instead of the plan's own seed.")]
Data = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        resolve_path=True,
        help="Where the dataset lies, if it does not come along.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(file_okay=False, resolve_path=True, help="Where to write; runs/PLAN if not given."),
]
Overwrite = Annotated[bool, typer.Option(help="Replace an earlier rehearsal in the same folder.")]
Resume = Annotated[bool, typer.Option(help="Go on with the rehearsal in the same folder, which broke off.")]


class EngineName(Enum):
    """What carries the messages."""

    RAY = "ray"
    IN_PROCESS = "in-process"


@app.command()
def run(
    plan: PlanName,
    output: Output = None,
    data: Data = None,
    engine: Annotated[
        EngineName, typer.Option(help="Flower's own engine, or everything in one process.")
    ] = EngineName.RAY,
    seed: Seed = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
) -> None:
    """Make a plan's hospitals, run the federation, show the result."""
    console = _console()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it, Flower must not stay
    folder = _folder(plan, output)
    with _plain_errors():
        if resume:
            check_begun(folder)
        else:
            make_room(folder, overwrite=overwrite)
        try:
            code = 0 if resume else prepare(plan, folder, data=data, seed=seed)
            if code == 0:
                ended = run_federation(folder, engine=engine.value, console=console, resume=resume)
                code = 0 if ended else 1
        except KeyboardInterrupt:
            _say(console, "Stopped. What there is so far:", *on_disk(folder))
            code = 130
    raise typer.Exit(code)


@app.command()
def sites(
    plan: PlanName,
    output: Output = None,
    data: Data = None,
    seed: Seed = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a plan's hospitals as site folders, and nothing else."""
    console = _console()
    folder = _folder(plan, output)
    with _plain_errors(), console.status("Starting") as status:
        from simulations.make_sites import make_sites  # brings Flower

        chosen = _read_plan(plan, seed)
        make_room(folder, overwrite=overwrite)
        made = make_sites(chosen, folder, data=data, say=lambda text: status.update(Text(text)))
    table = Table("hospital", "patients: train, validation, test", "modalities", box=None, padding=(0, 2))
    for site in made:
        counts = ", ".join(str(count) for count in site.patients.values())
        table.add_row(site.site, counts, ", ".join(site.modalities))
    console.print(table)


@app.command()
def plans() -> None:
    """List the plans that came along."""
    table = Table("plan", "minutes", "sites", "modalities", "what it asks", padding=(0, 1))
    for name, path in shipped_plans().items():
        plan = RunPlan.load(path)
        if plan.simulation is None:
            continue
        minutes = re.search(r"^# Minutes: *(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        hospitals = str(plan.simulation.num_hospitals)
        table.add_row(
            name, minutes[1] if minutes else "", hospitals, ", ".join(plan.modalities), Text(plan.description)
        )
    _console().print(table)


@app.command()
def egress(
    plan: PlanName,
    site_file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A site's site.toml, for the features it holds."),
    ] = None,
    data: Data = None,
) -> None:
    """List the tensors that may leave a site in a run of a plan, and what each letter reveals."""
    from simulations.egress import all_that_may_leave, revealed_by, schemas_of  # brings Flower

    console = _console()
    with _plain_errors():
        chosen = _read_plan(plan, None)
        leaving = list(all_that_may_leave(chosen, schemas_of(chosen, site_file=site_file, data=data)))
    table = Table("letter", "about", "tensor", "shape", "type", box=None, padding=(0, 2))
    for one in leaving:
        table.add_row(one.letter, one.about, Text(one.tensor), str(one.shape), one.dtype)
    console.print(table)
    for kind in dict.fromkeys(one.letter for one in leaving):
        console.print(Text(f"\n{kind}. {revealed_by(kind)}"))
    console.print(Text("\nAnything else that holds a tensor is stopped at the site's door (client/gate.py)."))


def _console() -> Console:
    """The terminal as it is; a file or a pipe has room for a table."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def _read_plan(name: str, seed: int | None) -> RunPlan:
    is_file = name.endswith(".toml") or Path(name).is_file()
    plan = RunPlan.load(Path(name)) if is_file else RunPlan.shipped(name)
    return plan if seed is None else plan.model_copy(update={"seed": seed})


def _folder(plan: str, output: Path | None) -> Path:
    return (output or Path("runs") / Path(plan).stem).absolute()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Say an error of ours as the sentence it is; any other keeps its traceback."""
    try:
        yield
    except LegoError as error:
        _say(Console(stderr=True), error.public, *([error.local] if error.local else []))
        raise typer.Exit(2) from None


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(Text(line), soft_wrap=True)
