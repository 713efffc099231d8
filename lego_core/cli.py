"""`fedlego`: look at a bundle from the command line; `keys` and `roster` stand in a file of their own."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lego_core._export_command import export
from lego_core._key_commands import keys, roster
from lego_core._leave_command import leave
from lego_core._plain_errors import plain_errors
from lego_core._predict_command import predict
from lego_core.bundle import ModelBundle
from lego_core.chained_log import verify_log
from lego_core.manifest import read_manifest, sign_bundle, signers_of
from lego_core.privacy_advice import privacy_advice
from lego_core.report import render_page, result_table
from lego_core.signing import SigningKey

app = typer.Typer(
    help="Look at the model that a federation handed over.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show the values of variables, and patients are values
)
app.add_typer(keys, name="keys")
app.add_typer(roster, name="roster")
app.command()(predict)
app.command()(export)
app.command()(leave)

Bundle = Annotated[Path, typer.Argument(help="Folder of the bundle.")]


@app.command()
def inspect(bundle: Bundle) -> None:
    """Show what a bundle is made of and how good it is."""
    console = Console()
    with plain_errors():
        loaded, manifest = ModelBundle.load(bundle), read_manifest(bundle)
    table = Table("modality", "features", "encoder", "hash of the block", title=f"Plan '{loaded.plan.name}'")
    for name, schema in loaded.agreement.schemas.items():
        encoder = loaded.plan.modalities[name].encoder.kind
        table.add_row(name, str(schema.num_features), encoder, manifest.blocks[name])
    console.print(table)
    console.print(result_table(loaded.report))
    if loaded.report.recommendation:
        console.print(Text(loaded.report.recommendation.sentence, style="bold"))
    console.print(loaded.report.privacy_claim)


@app.command()
def verify(
    bundle: Bundle,
    key: Annotated[
        list[str] | None, typer.Option(help="Public key of somebody you trust; may be given again.")
    ] = None,
) -> None:
    """Check every byte of a bundle against its manifest, who signed it, and that the models load."""
    with plain_errors():
        ModelBundle.load(bundle, trusted_keys=key or ())
        files, signers = len(read_manifest(bundle).files), signers_of(bundle)
    console = Console()
    console.print(
        Text(f"Bundle '{bundle.name}' is whole: {files} files match its manifest, all blocks load."),
        soft_wrap=True,
    )
    for signer in signers:
        trusted = "signed by" if signer in (key or ()) else "not checked: a signature of"
        console.print(Text(f"{trusted} {signer}"), soft_wrap=True)


@app.command()
def sign(bundle: Bundle, key: Annotated[Path, typer.Option(help="The file of your private key.")]) -> None:
    """Vouch for a bundle, after checking every byte of it."""
    with plain_errors():
        signer = SigningKey.load(key)
        sign_bundle(bundle, key=signer)
    Console().print(Text(f"Bundle '{bundle.name}' is signed by {signer.public}"), soft_wrap=True)


@app.command()
def report(
    bundle: Bundle,
    output: Annotated[Path, typer.Option(dir_okay=False, help="The page to write.")] = Path("report.html"),
) -> None:
    """Write the report of a bundle as one HTML page."""
    with plain_errors():
        page = render_page(ModelBundle.load(bundle).report)
    output.write_text(page, encoding="utf-8")
    Console().print(f"The report is in {output}.")


@app.command(name="verify-log")
def verify_log_command(
    log: Annotated[Path, typer.Argument(help="A log or ledger of chained lines.")],
    head: Annotated[str | None, typer.Option(help="The head that was noted at an earlier look.")] = None,
) -> None:
    """Check that no line of a log was changed, taken away or moved; the file is only read."""
    with plain_errors():
        events, now = verify_log(log, known_head=head)
    since = f", from {events[0]['time']} to {events[-1]['time']}" if events else ""
    console = Console()
    console.print(Text(f"'{log.name}' holds: {len(events)} lines follow from one another{since}."))
    for one in (one for one in events if one["event"] == "resumed"):
        torn = (
            f"; {one['torn_bytes']} bytes of a line without an end were cut off" if one["torn_bytes"] else ""
        )
        console.print(
            Text(
                f"Line {one['number']}, {one['time']}: the run was resumed from {one['checkpoint']}, so that "
                f"the {one['lines_done_again']} lines before it are of work that was done again{torn}."
            ),
            soft_wrap=True,
        )
    console.print(
        Text(f"Its head is {now}. Note it, and give it as --head at the next look."), soft_wrap=True
    )


@app.command(name="plan-privacy")
def plan_privacy(
    patients: Annotated[int, typer.Option(min=1, help="Training patients of the smallest site.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Patients expected in a step.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of each round (privacy.steps).")],
    rounds: Annotated[
        int, typer.Option(min=1, help="Rounds of all blocks and fused models together that a site takes.")
    ] = 1,
    epsilon: Annotated[float | None, typer.Option(help="The budget: tell the noise it asks for.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="The noise: tell what it costs.")] = None,
    delta: Annotated[float | None, typer.Option(help="If not given, min(1e-5, 1/(10 patients)).")] = None,
) -> None:
    """Tell which noise an epsilon asks for, or what a noise costs, with patient-level privacy."""
    with plain_errors():
        lines = privacy_advice(
            patients=patients,
            batch_size=batch_size,
            steps=steps * rounds,
            epsilon=epsilon,
            noise_multiplier=noise_multiplier,
            delta=delta,
        )
        Console().print(Text("\n".join(lines)), soft_wrap=True)
