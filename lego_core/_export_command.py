"""`fedlego export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from lego_core._plain_errors import plain_errors
from lego_core.bundle import ModelBundle
from lego_core.export import export_onnx, write_exports
from lego_core.prediction import choose_model


def export(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    onnx: Annotated[Path, typer.Option(file_okay=False, help="Folder to write to.")],
    modality: Annotated[
        list[str] | None, typer.Option(help="The block of this modality; may be given again.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="recommended, merge, fuse, ensemble, or block:NAME; may be given again."),
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Public key, one of which must have signed the bundle.")
    ] = None,
) -> None:
    """Write models as ONNX, each checked; all blocks, the merge and the fused model if none is named."""
    console = Console()
    with plain_errors():
        loaded = ModelBundle.load(bundle, trusted_keys=key or ())
        blocks = [f"block:{name}" for name in loaded.models.merged.modalities]
        every = [*blocks, "merge", *(["fuse"] if loaded.models.fused else [])]
        wished = [*(model or ()), *(f"block:{name}" for name in modality or ())] or every
        choices = [choose_model(loaded, one) for one in wished]
        made = []
        with console.status("") as status:
            for number, choice in enumerate(choices, start=1):
                status.update(f"writing and checking '{choice.name}', {number} of {len(choices)}")
                made.append(export_onnx(loaded, choice))
        files = write_exports(made, onnx)
    for one in made:
        said = f"Model '{one.model}': the largest difference from the bundle is {one.largest_difference:.1e}."
        console.print(Text(said), soft_wrap=True)
    console.print(Text(f"{len(files)} files are in {onnx}."), soft_wrap=True)
