"""The commands that write files for compose, systemd and Kubernetes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from deploy._files import new_folder, write
from deploy._terminal import plain_errors, say
from deploy.errors import DeployError
from deploy.targets import (
    OWN_IMAGE,
    PROXY_IMAGE,
    CoordinatorInputs,
    Deployment,
    SiteInputs,
    Target,
    coordinator_deployment,
    site_deployment,
    target_files,
)
from lego_core.component import Component, explain

targets = typer.Typer(
    name="target", help="Write files for compose, systemd or Kubernetes.", no_args_is_help=True
)

Inputs = TypeVar("Inputs", bound=Component)
Kind = Annotated[Target, typer.Argument(help="What is to run it.")]
Image = Annotated[str, typer.Option(help="Made from deploy/image.")]
Output = Annotated[Path, typer.Option(help="The folder to make.", resolve_path=True)]


@targets.command("coordinator")
def coordinator_target(
    target: Kind,
    folder: Annotated[Path, typer.Argument(help="The coordinator's folder.", resolve_path=True)],
    address: Annotated[str, typer.Option(help="The public name or IP address.")],
    state: Annotated[Path, typer.Option(help="Where state lies, on an encrypted disk.", resolve_path=True)],
    output: Output,
    image: Image = OWN_IMAGE,
    proxy_image: Annotated[str, typer.Option(help="nginx's own.")] = PROXY_IMAGE,
) -> None:
    """Write what runs SuperLink, SuperExec and proxy."""
    with plain_errors():
        said = {"folder": folder, "address": address, "state": state, "image": image}
        inputs = _read(CoordinatorInputs, said | {"proxy_image": proxy_image})
        _write(coordinator_deployment(inputs), target=target, output=output)


@targets.command("site")
def site_target(
    target: Kind,
    folder: Annotated[Path, typer.Argument(help="The site's folder, with the kit in it.", resolve_path=True)],
    data: Annotated[Path, typer.Option(help="The folder of its tables; only read.", resolve_path=True)],
    output: Output,
    gpu: Annotated[
        str, typer.Option(help="One graphics card, by number or UUID, or 'any', or 'none'.")
    ] = "none",
    image: Image = OWN_IMAGE,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="For Kubernetes: where the coordinator is, as in 192.0.2.7/32; may be given again."
        ),
    ] = None,
) -> None:
    """Write what runs a site's SuperNode."""
    with plain_errors():
        said = {"folder": folder, "data": data, "gpu": gpu, "image": image, "networks": tuple(network or ())}
        _write(site_deployment(_read(SiteInputs, said)), target=target, output=output)


def _read(kind: type[Inputs], said: Mapping[str, Any]) -> Inputs:
    try:
        return kind.model_validate(said)
    except ValidationError as error:
        raise explain(error, where="What 'target' was given", kind=DeployError) from error


def _write(deployment: Deployment, *, target: Target, output: Path) -> None:
    files = target_files(deployment, target=target)
    with new_folder(output) as here:
        for name, text in files.items():
            write(here / name, text.encode())
    say(
        f"{', '.join(sorted(files))} {'is' if len(files) == 1 else 'are'} in {output}; nothing in there is "
        f"secret. deploy/{target}/README.md says what to do with it.",
    )
