"""The code that a run consists of, as Flower carries it: one file (a FAB), known by its hash."""

import difflib
import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from deploy.errors import DeployError

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 10 * 1024 * 1024  # Flower takes no larger one
MOST_UNPACKED_BYTES = 200 * 1024 * 1024
OWN_LIST = ".info/CONTENT"  # Flower's list of the files; it follows from them


@dataclass(frozen=True)
class CodeBundle:
    """Server, client, science and plans of one state of this project.

    Args:
        content: The bytes that travel.
    """

    content: bytes

    @property
    def sha256(self) -> str:
        """By which sites and Flower know it."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Its files, by path.

        Raises:
            DeployError: If it cannot be unpacked, or has two files of one path.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(self.content)) as packed:
                names = packed.namelist()
                twice = sorted({name for name in names if names.count(name) > 1})
                if twice:
                    raise DeployError(
                        f"The code bundle {self.sha256[:12]}… has two files '{twice[0]}', and only one of "
                        "them would be shown. Do not approve it; ask the coordinator what it is."
                    )
                if sum(one.file_size for one in packed.infolist()) > MOST_UNPACKED_BYTES:
                    raise DeployError(
                        f"The code bundle {self.sha256[:12]}… unpacks to more than {MOST_UNPACKED_BYTES} "
                        "bytes, and none of this project does. Do not approve it."
                    )
                return {name: packed.read(name) for name in sorted(names) if name != OWN_LIST}
        except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
            raise DeployError(
                f"The file {self.sha256[:12]}… is no code bundle. Give the one that 'python -m deploy "
                "bundle' wrote.",
                local=str(error),
            ) from error

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of every file, by path."""
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.files.items()}


def build_code_bundle(root: Path = ROOT) -> CodeBundle:
    """Pack the code of a checkout as `flwr run` does; the same files give the same bytes.

    Raises:
        DeployError: If Flower cannot pack it.
    """
    from flwr.cli.build import build_fab_from_disk  # brings all of Flower's command line

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Flower's own way to match names
            return CodeBundle(build_fab_from_disk(root))
    except (OSError, ValueError) as error:
        raise DeployError(
            f"Flower cannot pack '{root.name}': {error}. Call this in a whole checkout of this project.",
            local=str(root),
        ) from error


def read_code_bundle(path: Path) -> CodeBundle:
    """Read a bundle from a file.

    Raises:
        DeployError: If it cannot be read, or is larger than Flower takes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DeployError(
            f"The code bundle '{path.name}' cannot be read ({error.strerror}). Look whether the path is "
            "right.",
            local=str(path),
        ) from error
    if len(content) > MOST_BYTES:
        raise DeployError(
            f"'{path.name}' is larger than {MOST_BYTES} bytes, and Flower takes no such bundle."
        )
    return CodeBundle(content)


def what_it_contains(bundle: CodeBundle, *, before: CodeBundle | None, lines: bool = False) -> Iterator[str]:
    """Tell people what is in a bundle: every file with its hash, or what differs from an earlier one.

    Args:
        bundle: The one to look at.
        before: One that was looked at earlier.
        lines: Whether to show the lines that differ.
    """
    yield f"Code bundle {bundle.sha256}, {len(bundle.files)} files"
    if before is None:
        yield from (f"  {digest}  {name}" for name, digest in bundle.hashes.items())
        return
    old, new = before.files, bundle.files
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) == new.get(name):
            continue
        what = "added  " if name not in old else "removed" if name not in new else "changed"
        yield f"  {what}  {bundle.hashes.get(name, '-' * 64)}  {name}"
        if lines:
            yield from _changed_lines(name, old.get(name, b""), new.get(name, b""))
    same = sum(old.get(name) == content for name, content in new.items())
    yield f"{same} files are those of {before.sha256}, which was approved before."


def _changed_lines(name: str, old: bytes, new: bytes) -> Iterator[str]:
    was, now = (content.decode("utf-8", "replace").splitlines() for content in (old, new))
    for line in difflib.unified_diff(was, now, f"before/{name}", f"now/{name}", lineterm="", n=1):
        yield f"    {line}"
