"""What a bundle is made of, with the hash of every file; whoever is trusted may have signed it."""

import hashlib
import json
import platform
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, final

from pydantic import ValidationError

from lego_core._bundle_signature import check_signature, read_signatures, signed_with
from lego_core.component import Component, explain
from lego_core.errors import BundleError
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement
from lego_core.signing import SigningKey

FORMAT = 1
MANIFEST = "manifest.json"
SEAL = "seal"  # the key of manifest.json that holds the hash of all its others
PACKAGES = ("torch", "numpy", "safetensors", "pydantic", "scikit-survival", "torchmetrics")


@final
class Provenance(Component):
    """What the records of the run must still hold, for whoever has them.

    Args:
        roster_sha256: Hash of the roster of sites.
        run_log_head: Head of the coordinator's `run.jsonl`, when the bundle was made.
        ledger_heads: Head of every site's privacy ledger, by site, as it told.
    """

    roster_sha256: str | None = None
    run_log_head: str | None = None
    ledger_heads: dict[str, str] | None = None


@final
class MadeFrom(Component):
    """Where a bundle comes from that no run handed over.

    Args:
        bundle_sha256: Hash of the manifest of the bundle that it was made from.
        left_out: The blocks that were left out, this time and before.
    """

    bundle_sha256: str
    left_out: tuple[str, ...]


@final
class Manifest(Component):
    """What a bundle is made of.

    Args:
        format: Version of this form; a newer one is refused.
        blocks: SHA-256 of the weights of every block, by modality.
        files: SHA-256 of every other file, by its name.
        provenance: What the records of the run must still hold.
        made_from: Which other bundle it was made from; absent if a run made it.
    """

    format: Literal[1] = FORMAT
    plan: RunPlan
    agreement: Agreement
    with_fused: bool
    blocks: dict[str, str]
    files: dict[str, str]
    versions: dict[str, str]
    provenance: Provenance | None = None
    made_from: MadeFrom | None = None


def manifest_bytes(manifest: Manifest) -> bytes:
    """Write a manifest down, with its seal."""
    plain = manifest.to_plain()
    return json.dumps({**plain, SEAL: _seal(plain)}, indent=1).encode()


def sign_bundle(folder: Path, *, key: SigningKey) -> None:
    """Vouch for a bundle that is there, after checking every byte of it.

    Raises:
        BundleError: If it does not hold, bears a signature that does not, or cannot be written to.
    """
    raw = _read_bytes(folder)
    for name, digest in _parse_manifest(folder, raw).files.items():
        checked_file(folder, name, digest)
    signed_with(folder, raw, key)


def signers_of(folder: Path) -> list[str]:
    """The public keys that a bundle is signed with; whether the signatures hold, `read_manifest` checks.

    Raises:
        BundleError: If they cannot be read.
    """
    return sorted(read_signatures(folder))


def read_manifest(folder: Path, *, trusted_keys: Collection[str] = ()) -> Manifest:
    """Read what a bundle is made of.

    Args:
        folder: The bundle.
        trusted_keys: Public keys, one of which must have signed it, if there are any.

    Raises:
        BundleError: If there is no bundle, it is of a newer format, or nobody who is trusted signed it.
    """
    raw = _read_bytes(folder)
    if trusted_keys:
        check_signature(folder, raw, trusted_keys=trusted_keys)
    return _parse_manifest(folder, raw)


def hash_of_manifest(folder: Path) -> str:
    """SHA-256 of the manifest as it lies on the disk: the name of a bundle, down to the last byte.

    Raises:
        BundleError: If there is none.
    """
    return hashlib.sha256(_read_bytes(folder)).hexdigest()


def _read_bytes(folder: Path) -> bytes:
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise _no_bundle(folder, error) from error


def _no_bundle(folder: Path, error: Exception) -> BundleError:
    return BundleError(
        f"'{folder.name}' is not a bundle: its {MANIFEST} is missing or not JSON. Give the folder that "
        "holds it.",
        local=str(error),
    )


def _parse_manifest(folder: Path, raw: bytes) -> Manifest:
    try:
        plain: dict[str, Any] = dict(json.loads(raw))
    except (ValueError, TypeError, RecursionError) as error:
        raise _no_bundle(folder, error) from error
    if plain.get("format") != FORMAT:
        raise BundleError(
            f"Bundle '{folder.name}' has format {plain.get('format')!r}, and lego_core "
            f"{lego_version()} reads format {FORMAT}. Install a newer lego_core."
        )
    if plain.pop(SEAL, "") != _seal(plain):
        raise BundleError(
            f"Bundle '{folder.name}': its {MANIFEST} was changed or damaged; copy the bundle again from its "
            "origin."
        )
    try:
        return Manifest.model_validate(plain)
    except ValidationError as error:
        raise explain(error, where=f"{MANIFEST} of bundle '{folder.name}'", kind=BundleError) from error


def versions() -> dict[str, str]:
    """What computed the weights: this project, Python, and the packages that matter."""
    return {
        "lego_core": lego_version(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def lego_version() -> str:
    """The version of this code, which also runs without being installed (in Flower's bundle)."""
    from lego_core import __version__

    return __version__


def checked_file(folder: Path, name: str, digest: str) -> bytes:
    """Read a file of a bundle.

    Raises:
        BundleError: If it is missing, or has another hash.
    """
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise BundleError(
            f"Bundle '{folder.name}' has no file '{name}'. Copy the whole folder again.", local=str(error)
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise BundleError(
            f"Bundle '{folder.name}': file '{name}' has hash {found[:12]}… and the manifest says "
            f"{digest[:12]}…. It was changed or damaged; copy the bundle again from its origin."
        )
    return content


def _seal(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
