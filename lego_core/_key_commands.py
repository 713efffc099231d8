"""`fedlego keys` and `fedlego roster`: who one is, and who belongs to the consortium."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lego_core._plain_errors import plain_errors
from lego_core.roster import read_signed_roster, sign_roster
from lego_core.sealed_file import SealingKey, open_sealed
from lego_core.signing import SigningKey, write_secret

keys = typer.Typer(help="Make, show and use keys.", no_args_is_help=True)
roster = typer.Typer(help="Sign and show the roster of a consortium.", no_args_is_help=True)

KeyFile = Annotated[Path, typer.Argument(help="The file of a private key.")]
RosterFile = Annotated[Path, typer.Argument(help="The roster, signed or not yet: a JSON file.")]


@keys.command()
def make(file: KeyFile) -> None:
    """Make a fresh private key in a file that only you may read, and print its public half."""
    with plain_errors():
        key = SigningKey.make()
        key.save(file)
    Console().print(Text(key.public), soft_wrap=True)


@keys.command(name="make-sealing")
def make_sealing(file: KeyFile) -> None:
    """Make a fresh key to seal checkpoints with, in a file that only you may read."""
    with plain_errors():
        SealingKey.make(file)
    Console().print(Text(f"The key is in '{file.name}'. Without it, nothing that was sealed opens again."))


@keys.command()
def unseal(
    sealed: Annotated[Path, typer.Argument(help="A sealed file of a checkpoint, in its folder.")],
    key: Annotated[Path, typer.Option(help="The key it was sealed with.")],
    output: Annotated[Path, typer.Option(help="The file to write; only you may read it.")],
) -> None:
    """Open a sealed checkpoint."""
    about = (
        f"{sealed.absolute().parent.name}/{sealed.name.removesuffix('.sealed').removesuffix('.safetensors')}"
    )
    with plain_errors():
        write_secret(output, open_sealed(sealed, key=SealingKey.load(key), about=about))
    Console().print(Text(f"What was sealed is in '{output.name}'."))


@keys.command(name="show")
def show_key(file: KeyFile) -> None:
    """Print the public half of a key."""
    with plain_errors():
        public = SigningKey.load(file).public
    Console().print(Text(public), soft_wrap=True)


@roster.command()
def sign(
    file: RosterFile, key: Annotated[Path, typer.Option(help="The private key of one who governs.")]
) -> None:
    """Add your signature to a roster."""
    with plain_errors():
        signed = sign_roster(file, key=SigningKey.load(key))
    Console().print(
        Text(f"The roster of '{signed.roster.consortium}' bears {len(signed.signatures)} signatures now."),
        soft_wrap=True,
    )


@roster.command(name="show")
def show_roster(file: RosterFile) -> None:
    """Show the sites on a roster, until when their keys count, and who signed."""
    today = datetime.now(UTC).date()
    with plain_errors():
        signed = read_signed_roster(file)
        held = {key: signed.signed_by(key) for key in sorted(signed.signatures)}
    console = Console()
    table = Table("site", "counts", "from", "until", "key", title=signed.roster.consortium)
    for one in signed.roster.entries:
        counts = "yes" if one.is_valid(today) else "no"
        dates = (one.valid_from.isoformat(), one.valid_until.isoformat())
        table.add_row(one.site, counts, *dates, f"{one.public_key[:12]}…")
    console.print(table)
    for key, holds in held.items():
        console.print(
            Text(f"signed by {key}" if holds else f"NOT signed by {key}: the signature does not hold"),
            soft_wrap=True,
        )
    console.print(Text(f"hash {signed.roster.sha256}"), soft_wrap=True)
