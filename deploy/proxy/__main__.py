"""`python -m deploy.proxy proxy.toml FOLDER`: write nginx's configuration into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.proxy.render import nginx_conf
from deploy.proxy.settings import Fence
from lego_core.errors import LegoError


def write(
    settings: Annotated[Path, typer.Argument(help="The coordinator's proxy.toml.")],
    folder: Annotated[Path, typer.Argument(help="Where nginx will run, and write its logs.")],
) -> None:
    """Write nginx.conf from proxy.toml, and say how to start it."""
    try:
        text = nginx_conf(Fence.from_file(settings))
    except LegoError as error:
        typer.echo(error.public, err=True)
        raise typer.Exit(1) from None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    typer.echo(f"{folder / 'nginx.conf'} is written. Test it, then start it:")
    typer.echo(f"  nginx -p {folder.resolve()} -e error.log -c nginx.conf -t")
    typer.echo(f"  nginx -p {folder.resolve()} -e error.log -c nginx.conf")


if __name__ == "__main__":
    typer.run(write)
