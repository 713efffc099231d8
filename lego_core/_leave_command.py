"""`fedlego leave`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lego_core._plain_errors import plain_errors
from lego_core._wording import count_of, signed, signed_with_interval
from lego_core.bundle import ModelBundle
from lego_core.errors import BundleError
from lego_core.leaving import (
    MetricChange,
    OwnChange,
    blocks_of_site,
    change_in_report,
    change_on_own,
    influence,
    without_blocks,
)


def leave(
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    output: Annotated[Path, typer.Option(file_okay=False, help="A new folder for the new bundle.")],
    block: Annotated[
        list[str] | None, typer.Option(help="The block of this modality; may be given again.")
    ] = None,
    site: Annotated[str | None, typer.Option(help="Instead: all blocks that only this site trained.")] = None,
    data: Annotated[
        Path | None, typer.Option(file_okay=False, help="A site's folder: compare on its test patients.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Public key, one of which must have signed the bundle.")
    ] = None,
) -> None:
    """Take a block out of a bundle, merge the others again, and tell what that changes."""
    console = Console()
    with plain_errors():
        old = ModelBundle.load(bundle, trusted_keys=key or ())
        _check_wishes(block, site, output)
        names = blocks_of_site(old, site) if site else tuple(block or ())
        new = without_blocks(old, names)
        changes = change_in_report(old, new.models.merged.modalities)
        own = change_on_own(old, new, data) if data else None
        new.save(output)
    for sentence in influence(old, names):
        console.print(Text(sentence), soft_wrap=True)
    _show(console, changes, metric=old.agreement.task.metric)
    if own:
        console.print(Text(_own_words(own)), soft_wrap=True)
    said = f"The new bundle is in {output}. Nobody has signed it yet: look at it, then 'fedlego sign'."
    console.print(Text(said), soft_wrap=True)


def _check_wishes(block: list[str] | None, site: str | None, output: Path) -> None:
    if bool(block) == bool(site):
        raise BundleError(
            f"Blocks {block or []} and site {site!r} were given, and it takes one of them. Name a block "
            "(--block) or a site (--site)."
        )
    if output.exists():
        raise BundleError(
            f"'{output.name}' is there already, and would be lost. Name a folder that is not there."
        )


def _show(console: Console, changes: list[MetricChange], *, metric: str) -> None:
    if not changes:
        said = "The report has no scores of what stays on patients with every modality; --data compares."
        console.print(Text(said), soft_wrap=True)
        return
    table = Table("model", f"{metric} before", "after", "change", "patients", title="The run's test patients")
    for one in changes:
        after = f"{one.after.value:.3f} ({one.after.low:.3f} to {one.after.high:.3f})" if one.after else "–"
        before = f"{one.before.value:.3f} ({one.before.low:.3f} to {one.before.high:.3f})"
        change = signed(one.change) if one.change is not None else "–"
        table.add_row(one.method, before, after, change, f"{one.before.count:,}")
    console.print(table)
    said = "A report holds no paired interval of such a change; with --data there is one, on own patients."
    console.print(Text(said), soft_wrap=True)


def _own_words(own: OwnChange) -> str:
    gain = own.gain
    change = signed_with_interval(gain.value, gain.low, gain.high)
    verdict = "no difference can be claimed"
    if gain.low > 0 or gain.high < 0:
        verdict = f"the new merge is {'better' if gain.low > 0 else 'worse'} here"
    return (
        f"On {count_of(gain.patients, 'test patient')} of the given data the merge had {own.metric} "
        f"{own.before:.3f} and has {own.after:.3f}: {change}, 95 % paired bootstrap; {verdict}."
    )
