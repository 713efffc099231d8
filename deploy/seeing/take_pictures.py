"""`python -m deploy.seeing.take_pictures FOLDER`: pictures of the dashboard, from a rehearsal that runs."""

import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from deploy._terminal import plain_errors
from deploy.seeing.browser import Browser, Tab, find_browser
from deploy.seeing.run_reader import RunReader
from lego_core.errors import RunError

RUN_SECONDS = 1200.0
LOOK_SECONDS = 0.1
WIDTH, HEIGHT = 1320, 1150

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(help="Where the pictures go.")],
    plan: Annotated[str, typer.Option(help="Which rehearsal is run for them.")] = "pbc",
    at_round: Annotated[int, typer.Option(min=1, help="Round of the blocks in which to take the first.")] = 9,
) -> None:
    """Take pictures of the dashboard during and after a run, and of its report."""
    with plain_errors():
        command = find_browser()
        if command is None:
            raise RunError("There is no Chromium here to take pictures with. Run: apt-get install chromium.")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch, Browser(command) as browser, browser.tab() as tab:
            runs = Path(scratch)
            with (
                _running("-m", "simulations", "run", plan, "--output", str(runs / plan)),
                _dashboard(runs) as at,
            ):
                _wait_until(RunReader(runs / plan), round_number=at_round)
                _take(tab, f"{at}?theme=light", folder / "dashboard-during.png")
                _wait_until(RunReader(runs / plan), round_number=None)
                _take(tab, f"{at}?theme=dark", folder / "dashboard-after.png")
                tab.open(f"{at}report", width=WIDTH, height=HEIGHT)
                tab.wait_for("document.querySelectorAll('.plot svg').length > 0")
                _keep(tab.picture(), folder / "report.png")
    typer.echo(f"The pictures are in {folder}.")


def _take(tab: Tab, address: str, path: Path) -> None:
    tab.open(address, width=WIDTH, height=HEIGHT)
    tab.wait_for("document.querySelectorAll('#curves svg').length > 1")
    _keep(tab.picture(whole=True), path)


def _keep(picture: bytes, path: Path) -> None:
    """Write a picture with 256 colours, which suffice for a page and take a third of the place."""
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(256).save(path, optimize=True)


def _wait_until(reader: RunReader, *, round_number: int | None) -> None:
    """Wait until a round in which some have answered and some not; until the end, if no round is named."""
    end = time.monotonic() + RUN_SECONDS
    while time.monotonic() < end:
        state = reader.look()
        some = 0 < len(state.waiting) < len(state.sites)
        if state.ended or (round_number is not None and state.round >= round_number and some):
            return
        time.sleep(LOOK_SECONDS)
    raise RunError(f"The rehearsal did not come so far within {RUN_SECONDS:g} seconds. Look why it is slow.")


@contextmanager
def _running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command of this project, until the `with` block ends."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate()


@contextmanager
def _dashboard(runs: Path) -> Iterator[str]:
    """Where a dashboard of these runs listens."""
    with _running("-u", "-m", "deploy", "dashboard", str(runs), "--port", "0") as process:
        assert process.stdout is not None
        yield process.stdout.readline().split("is at ")[1].split(" until")[0]


if __name__ == "__main__":
    app()
