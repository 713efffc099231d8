"""The proxy of a federation: it follows from the coordinator's folder, or stands in `proxy.toml`."""

import tomllib
from typing import Any

from pydantic import ValidationError

from deploy.coordinator import Coordinator
from deploy.proxy.settings import Fence
from lego_core.component import explain
from lego_core.errors import RunError

SETTINGS = "proxy.toml"


def fence_of(coordinator: Coordinator) -> Fence:
    """What the proxy of a federation publishes.

    Args:
        coordinator: Its folder. A `proxy.toml` there may name any key of `Fence`, and counts before what the
            folder says.

    Raises:
        RunError: If `proxy.toml` cannot be read, with every key that is wrong.
    """
    folder, federation = coordinator.folder.absolute(), coordinator.federation
    names = [host for host in federation.hosts if ":" not in host]  # nginx is told a name, and asks for none
    settings: dict[str, Any] = {
        "host": names[0] if names else "localhost",
        "port": federation.port,
        "certificate": folder / "server.pem",
        "key": folder / "secrets" / "server.key",
        "superlink-port": federation.superlink_port,
        "superlink-ca": folder / "ca.crt",
    }
    try:
        return Fence.model_validate(settings | _own_settings(coordinator))
    except ValidationError as error:
        raise explain(error, where=SETTINGS, kind=RunError) from error


def _own_settings(coordinator: Coordinator) -> dict[str, Any]:
    path = coordinator.folder / SETTINGS
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RunError(f"{SETTINGS} cannot be read as TOML: {error}.", local=str(path)) from error
