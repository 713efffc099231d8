"""`python -m simulations bench`: what the methods are worth, measured."""

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None, typer.Option(exists=True, file_okay=False, resolve_path=True, help="Where the data lie.")
]
Repeats = Annotated[
    int | None, typer.Option(min=1, help="5 for 1,500 patients or more, 3 for fewer, if not given.")
]
Plan = Annotated[
    str | None, typer.Option(help="Task, encoders and training of another plan, by name or file.")
]
Jobs = Annotated[int, typer.Option(min=1, help="Processes, with one thread each.")]
Seed = Annotated[int, typer.Option(min=0, help="Another seed gives other splits and starts.")]
Quick = Annotated[bool, typer.Option(help="A first look: few trials, little training.")]

bench = typer.Typer(help="Measure what the methods are worth.", no_args_is_help=True)


@bench.callback()
def _about() -> None:
    """Measure what the methods are worth."""


@bench.command()
def quality(
    dataset: Annotated[
        str, typer.Option(help="Name of a shipped dataset, or a TOML file that describes one.")
    ],
    data: Data = None,
    repeats: Repeats = None,
    output: Annotated[
        Path | None,
        typer.Option(file_okay=False, resolve_path=True, help="Where to write; runs/bench/DATASET."),
    ] = None,
    plan: Plan = None,
    methods: Annotated[
        str | None, typer.Option(help="Names separated by commas; all methods if not given.")
    ] = None,
    jobs: Jobs = 2,
    seed: Seed = 0,
    quick: Quick = False,
) -> None:
    """Compare all methods on one dataset, on the same patients; goes on where it was stopped."""
    from simulations.benchmarks.quality import run_quality  # brings torch
    from simulations.benchmarks.subject import Source

    names = [name.strip() for name in methods.split(",") if name.strip()] if methods is not None else None
    source = Source(dataset=dataset, plan=plan, data=data)
    folder = output or (Path("runs") / "bench" / Path(dataset).stem).absolute()
    run_quality(source, folder, methods=names, repeats=repeats, processes=jobs, seed=seed, quick=quick)


@bench.command()
def study(
    name: Annotated[str, typer.Argument(help="Which study; an unknown name is answered with the list.")],
    dataset: Annotated[
        str | None, typer.Option(help="Name of a shipped dataset, or a TOML file; the study's own choice.")
    ] = None,
    data: Data = None,
    repeats: Repeats = None,
    output: Annotated[
        Path | None,
        typer.Option(file_okay=False, resolve_path=True, help="Where to write a folder NAME; runs/studies."),
    ] = None,
    plan: Plan = None,
    jobs: Jobs = 2,
    seed: Seed = 0,
    quick: Quick = False,
) -> None:
    """Answer one question with a table, a figure and a sentence; goes on where it was stopped."""
    from simulations.benchmarks.studies._run import run_study  # brings torch

    run_study(
        name,
        output or (Path("runs") / "studies").absolute(),
        dataset=dataset,
        plan=plan,
        data=data,
        repeats=repeats,
        processes=jobs,
        seed=seed,
        quick=quick,
    )


@bench.command(name="secure-sum")
def secure_sum(
    elements: Annotated[int, typer.Option(min=1000, help="Length of the vector.")] = 10_000_000,
    pairs: Annotated[int, typer.Option(min=1, help="Turns for each of the two.")] = 6,
    neighbours: Annotated[
        str, typer.Option(help="With how many sites a site shares masks; a race for each number.")
    ] = "10,20",
    sites: Annotated[int, typer.Option(min=3, help="Sites of the session that is rehearsed.")] = 1000,
    absent: Annotated[float, typer.Option(min=0, max=0.3, help="Share of them that get lost.")] = 0.05,
    output: Annotated[Path, typer.Option(file_okay=False, resolve_path=True, help="Where to write.")] = Path(
        "runs/bench/secure-sum"
    ),
) -> None:
    """Race the secure sum against Flower's SecAgg+ on one long vector; rehearse it with many sites."""
    from simulations.benchmarks.secure_sum import run_secure_sum

    run_secure_sum(
        output,
        elements=elements,
        pairs=pairs,
        neighbours=[int(count) for count in neighbours.split(",")],
        num_sites=sites,
        absent=absent,
    )


@bench.command()
def rounds(
    sites: Annotated[int, typer.Option(min=1, help="Sites in every round.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each kind.")] = 12,
    output: Annotated[Path, typer.Option(file_okay=False, resolve_path=True, help="Where to write.")] = Path(
        "runs/bench/rounds"
    ),
) -> None:
    """Measure rounds in which nothing is trained: our way to ask, next to Flower's, with real processes."""
    from simulations.benchmarks.transport.rounds import run_rounds  # brings Flower

    run_rounds(output, sites=sites, rounds=rounds)


@bench.command(name="large-block")
def large_block(
    mebibytes: Annotated[int, typer.Option(min=1, help="Size of the block in float32.")] = 500,
    output: Annotated[Path, typer.Option(file_okay=False, resolve_path=True, help="Where to write.")] = Path(
        "runs/bench/large-block"
    ),
) -> None:
    """Send a large block to a site and back, in pieces and in Flower's one message, with real processes."""
    from simulations.benchmarks.transport.large_block import run_large_block  # brings Flower

    run_large_block(output, mebibytes=mebibytes)


@bench.command()
def privacy(
    dataset: Annotated[
        str, typer.Option(help="As for `bench quality`; `synthetic` makes patients of its own.")
    ] = "synthetic",
    data: Data = None,
    output: Annotated[
        Path | None,
        typer.Option(file_okay=False, resolve_path=True, help="Where to write; runs/bench/privacy/DATASET."),
    ] = None,
    plan: Plan = None,
    jobs: Jobs = 2,
    seed: Seed = 0,
    quick: Quick = False,
    of: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            resolve_path=True,
            help="Folder of a rehearsal: attack its model instead, and note it in its bundle and report.",
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            resolve_path=True,
            help="File of your private key: signs the bundle of --of anew. A signed one needs it.",
        ),
    ] = None,
) -> None:
    """Attack our own models under every privacy plan; goes on where it was stopped."""
    if of is not None:
        from simulations.benchmarks.privacy.rehearsal import run_rehearsal  # brings torch

        run_rehearsal(of, key=key)
        return
    if key is not None:
        raise typer.BadParameter(
            "--key signs the bundle of a rehearsal, and no --of names one; give --of FOLDER"
        )
    from simulations.benchmarks.privacy.command import run_privacy
    from simulations.benchmarks.subject import Source

    source = Source(dataset=dataset, plan=plan, data=data)
    folder = output or (Path("runs") / "bench" / "privacy" / Path(dataset).stem).absolute()
    run_privacy(source, folder, processes=jobs, seed=seed, quick=quick)


@bench.command()
def document(
    benchmarks: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, file_okay=False, help="Folders of finished benchmarks."),
    ] = None,
    studies: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="The folder of finished studies.")
    ] = None,
    privacy: Annotated[
        list[Path] | None,
        typer.Option(exists=True, file_okay=False, help="A folder of `bench privacy`, for PRIVACY.md."),
    ] = None,
    output: Annotated[
        Path, typer.Option(file_okay=False, help="Where to write RESULTS.md, PRIVACY.md and their figures.")
    ] = Path("runs"),
) -> None:
    """Put finished benchmarks and studies into one document: RESULTS.md, with figures."""
    from lego_core.errors import RunError
    from simulations.benchmarks.across import Finished  # brings torch
    from simulations.benchmarks.command import command, say
    from simulations.benchmarks.document import write_document
    from simulations.benchmarks.privacy.shown import write_privacy_document

    with command() as console:
        if not benchmarks and not privacy:
            raise RunError(
                "There is nothing to document. Name folders of finished benchmarks, or --privacy DIR."
            )
        if privacy:
            write_privacy_document(privacy, folder=output)
            say(console, [str(output / "PRIVACY.md")])
        if not benchmarks:
            return
        finished = [Finished.read(folder) for folder in benchmarks]
        found = sorted(path.parent for path in studies.glob("*/results.json")) if studies else []
        write_document(finished, found, folder=output)
        say(console, [str(output / "RESULTS.md")])
