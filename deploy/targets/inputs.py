"""The three inputs of a coordinator, and the three of a site; the same whatever runs them."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self, final

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from lego_core.component import Component

PLAIN_PATH = re.compile(r"(/[A-Za-z0-9_.-]+)+")
SPECIAL = frozenset({".", ".."})
OWN_IMAGE, PROXY_IMAGE = "lego-federation:0.1.0", "nginx:1.28-bookworm"
OWN_USER = 10001  # nobody's on an ordinary machine; the image runs as this number


def _plain(path: Path) -> Path:
    if not PLAIN_PATH.fullmatch(str(path)) or SPECIAL & set(path.parts):
        raise ValueError(
            f"'{path}' is read otherwise by one of compose, systemd and Flower; give an absolute path of "
            "letters, digits, '_', '-', '.' and '/', as in '/srv/lego/north'"
        )
    return path


PlainPath = Annotated[Path, AfterValidator(_plain)]
Image = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/:-]*(@sha256:[0-9a-f]{64})?$")]
Gpu = Annotated[str, StringConstraints(pattern=r"^(none|any|[0-9]+|(GPU|MIG)-[0-9A-Za-z-]+)$")]
Target = Literal["compose", "systemd", "kubernetes"]


@final
class CoordinatorInputs(Component):
    """What a coordinator says.

    Args:
        folder: The federation's folder, which `init` made.
        address: The public name or IP address; the server's certificate must count for it.
        state: Where state lies; tensors on their way pass through it, unencrypted.
        image: The image with the project's dependencies.
        proxy_image: nginx's.
    """

    folder: PlainPath
    address: str
    state: PlainPath
    image: Image = OWN_IMAGE
    proxy_image: Image = PROXY_IMAGE

    @model_validator(mode="after")
    def _state_lies_apart(self) -> Self:
        if self.state.is_relative_to(self.folder) or self.folder.is_relative_to(self.state):
            raise ValueError(
                f"state is '{self.state}' and the folder is '{self.folder}': programs may write the one "
                "and only read the other; choose a place for state outside of it"
            )
        return self


@final
class SiteInputs(Component):
    """What a site says.

    Args:
        folder: The site's folder, which `join` made and the kit completed.
        data: Its tables; the node may read them and no more.
        gpu: The one graphics card of the node, by number or UUID, or `any`, or `none`.
        image: The image with the project's dependencies.
        runtime_port: Where the node's own processes meet, on a loopback.
        networks: Where the coordinator is, for Kubernetes, which knows no names in its rules; what
            `federation.toml` names as addresses if not given.
    """

    folder: PlainPath
    data: PlainPath
    gpu: Gpu = "none"
    image: Image = OWN_IMAGE
    runtime_port: int = Field(default=9094, ge=1, le=65535)
    networks: tuple[str, ...] = ()
