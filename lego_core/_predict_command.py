"""`fedlego predict`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from lego_core._plain_errors import plain_errors
from lego_core._wording import count_of
from lego_core.bundle import ModelBundle
from lego_core.prediction import (
    Problem,
    UnitWatch,
    choose_model,
    open_patients,
    predict_in_batches,
    write_in_batches,
    write_problems,
)

STATUS, PREDICTED = "status", "predicted"


def predict(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    data: Annotated[
        Path, typer.Option("--input", help="The patients: a table, or the folder of a site's data.")
    ],
    output: Annotated[Path, typer.Option(dir_okay=False, help="The table to write: .csv or .parquet.")],
    model: Annotated[
        str, typer.Option(help="recommended, merge, fuse, ensemble, or block:NAME.")
    ] = "recommended",
    modality: Annotated[str | None, typer.Option(help="Read this modality only.")] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Public key, one of which must have signed the bundle.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Patients read and predicted at once.")] = 256,
) -> None:
    """Predict for patients with any subset of the modalities."""
    console, remarks = Console(), Console(stderr=True)
    with plain_errors():
        loaded = ModelBundle.load(bundle, trusted_keys=key or ())
        choice = choose_model(loaded, model)
        patients = open_patients(data, loaded.agreement.schemas, modality=modality)
        for notice in patients.notices:
            remarks.print(Text(notice, style="yellow"), soft_wrap=True)
        watch, problems, predicted = UnitWatch(loaded.models.merged.blocks), list(patients.problems), 0
        with write_in_batches(output) as file, _progress(remarks) as progress:
            bar = progress.add_task("predicting", total=len(patients))
            for part in predict_in_batches(loaded, patients, choice, batch_size=batch_size, watch=watch):
                file.write(part.table)
                problems += part.problems
                predicted += part.table[STATUS].tolist().count(PREDICTED)
                progress.advance(bar, len(part.table))
        listed = output.with_suffix(".problems.csv")
        write_problems(listed, problems)
        for notice in watch.notices():
            remarks.print(Text(notice, style="yellow"), soft_wrap=True)
        _sum_up(console, choice.name, predicted=predicted, patients=len(patients), output=output)
        _tell_problems(console, problems, listed)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _sum_up(console: Console, model: str, *, predicted: int, patients: int, output: Path) -> None:
    said = f"Model '{model}' predicted {predicted:,} of {count_of(patients, 'patient')}: {output}"
    console.print(Text(said), soft_wrap=True)
    if predicted < patients:
        without = count_of(patients - predicted, "patient")
        said = f"Column '{STATUS}' tells why {without} could not be predicted."
        console.print(Text(said), soft_wrap=True)


def _tell_problems(console: Console, problems: list[Problem], listed: Path) -> None:
    if problems:
        said = f"{count_of(len(problems), 'problem')} of reading or predicting, listed in {listed}"
        console.print(Text(said), soft_wrap=True)
