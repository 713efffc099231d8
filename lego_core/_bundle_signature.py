"""Who vouches for a bundle: signatures over the bytes of its manifest, which names the hash of every file."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, final

from pydantic import Field, ValidationError

from lego_core.component import Component, explain
from lego_core.errors import BundleError
from lego_core.signing import SigningKey, is_signed

SIGNATURE = "signature.json"
TAG = "bundle"
MOST_BYTES = 1024 * 1024


@final
class Signatures(Component):
    """What lies in `signature.json`.

    Args:
        format: Version of this form.
        signatures: By the public key of who signed.
    """

    format: Literal[1] = 1
    signatures: dict[str, str] = Field(default_factory=dict)


def check_signature(folder: Path, manifest: bytes, *, trusted_keys: Collection[str]) -> list[str]:
    """Make sure that somebody who is trusted signed a bundle.

    Args:
        folder: The bundle.
        manifest: The bytes of its manifest, as they are about to be read.
        trusted_keys: Public keys, in hexadecimal digits.

    Returns:
        Those of them that signed.

    Raises:
        BundleError: If there is no signature of theirs, or one in their name does not hold.
    """
    signatures = read_signatures(folder)
    theirs = sorted(set(trusted_keys) & signatures.keys())
    _check_hold(folder, manifest, {key: signatures[key] for key in theirs})
    if not theirs:
        raise BundleError(
            f"Bundle '{folder.name}' bears {len(signatures)} signatures and none of the "
            f"{len(set(trusted_keys))} keys that are trusted here. Nothing of it was loaded. Get the bundle "
            "from who signs, or find out their key by another way than the bundle came."
        )
    return theirs


def signed_with(folder: Path, manifest: bytes, key: SigningKey) -> None:
    """Add a signature to a bundle; only the file of signatures changes, whole or not at all.

    Raises:
        BundleError: If it bears a signature that does not hold, or none can be written.
    """
    before = read_signatures(folder)
    _check_hold(folder, manifest, before)
    unfinished = folder / f".{SIGNATURE}.unfinished"
    try:
        with unfinished.open("wb") as file:
            file.write(signature_file(manifest, key, before=before))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / SIGNATURE)
    except OSError as error:
        raise BundleError(
            f"Bundle '{folder.name}': its {SIGNATURE} cannot be written ({error.strerror}). Make room, or "
            "mend the folder's rights.",
            local=str(folder),
        ) from error


def signature_file(manifest: bytes, key: SigningKey, *, before: Mapping[str, str] | None = None) -> bytes:
    """What is to lie in `signature.json`, beside this manifest."""
    signed = Signatures(signatures={**(before or {}), key.public: key.sign(manifest, tag=TAG)})
    return json.dumps(signed.to_plain(), indent=1, sort_keys=True).encode("ascii")


def read_signatures(folder: Path) -> dict[str, str]:
    """The signatures that a bundle bears, by public key; none of them is checked.

    Raises:
        BundleError: If the file is there and cannot be read.
    """
    try:
        with (folder / SIGNATURE).open("rb") as file:
            return Signatures.model_validate(json.loads(file.read(MOST_BYTES))).signatures
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        raise explain(error, where=f"{SIGNATURE} of bundle '{folder.name}'", kind=BundleError) from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"Bundle '{folder.name}': its {SIGNATURE} cannot be read, or is not JSON. Copy the bundle again "
            "from its origin.",
            local=str(error),
        ) from error


def _check_hold(folder: Path, manifest: bytes, signatures: Mapping[str, str]) -> None:
    for key, signature in signatures.items():
        if not is_signed(manifest, signature, tag=TAG, by=key):
            raise BundleError(
                f"Bundle '{folder.name}': the signature of key {key[:12]}… does not hold. It is forged, or "
                "the bundle was changed since. Nothing of it was loaded. Get the bundle again from who "
                "signed it."
            )
