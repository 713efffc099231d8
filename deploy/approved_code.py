"""Which code a site runs: the bundles that its operator has approved, in the folder `approved`.

approved/approved.json   the list, in the order of approval; what is not on it does not run
approved/SHA256.fab      each of them, so that the next can be compared with it
"""

import json
from datetime import date
from pathlib import Path
from typing import Annotated, final

from pydantic import StringConstraints, TypeAdapter, ValidationError

from deploy._files import make_folder, write
from deploy.code_bundle import CodeBundle, read_code_bundle
from deploy.errors import DeployError
from lego_core.component import Component, explain

FOLDER, LIST = "approved", "approved.json"


@final
class Approval(Component):
    """One bundle that a site has approved.

    Args:
        sha256: Its hash.
        approved_on: The day.
    """

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    approved_on: date


APPROVALS = TypeAdapter(tuple[Approval, ...])


def approvals(site: Path) -> tuple[Approval, ...]:
    """What a site has approved, the latest last; nothing before the first approval.

    Args:
        site: Its folder.

    Raises:
        DeployError: If the list is there and cannot be read.
    """
    path = site / FOLDER / LIST
    try:
        return APPROVALS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise DeployError(
            f"The list of approved code, '{LIST}', cannot be read ({error.strerror}). Nothing runs until it "
            "can; bring it back from your backup, or approve again.",
            local=str(path),
        ) from error
    except ValidationError as error:
        raise explain(error, where=f"'{LIST}'", kind=DeployError) from error


def is_approved(site: Path, sha256: str) -> bool:
    """Whether a site runs the code of this hash."""
    return any(one.sha256 == sha256 for one in approvals(site))


def last_approved(site: Path) -> CodeBundle | None:
    """The bundle that a site approved last, if its file is still there and whole."""
    listed = approvals(site)
    path = site / FOLDER / f"{listed[-1].sha256}.fab" if listed else None
    if path is None or not path.is_file():
        return None
    bundle = read_code_bundle(path)
    return bundle if bundle.sha256 == listed[-1].sha256 else None


def approve_code(site: Path, bundle: CodeBundle, *, today: date) -> None:
    """Let a site run a bundle from now on; a SuperNode that runs already notices it.

    Raises:
        DeployError: If the list cannot be read or written.
    """
    listed = [one for one in approvals(site) if one.sha256 != bundle.sha256]
    listed.append(Approval(sha256=bundle.sha256, approved_on=today))
    folder = site / FOLDER
    if not folder.is_dir():
        make_folder(folder)
    write(folder / f"{bundle.sha256}.fab", bundle.content)
    plain = [one.to_plain() for one in listed]
    write(folder / LIST, (json.dumps(plain, indent=1) + "\n").encode("ascii"))
