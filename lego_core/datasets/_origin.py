"""Published data that a user fetches once; nothing is ever downloaded from here."""

from pathlib import Path

from lego_core.errors import DataError


def find_published(folder: Path | None, relative: Path, *, origin: str) -> Path:
    """Find a published file in its own subfolder, or right in the folder.

    Args:
        folder: Where the data lie; the current folder if not given.
        relative: The file's place among published data, such as `tcga/tcga_blca_all_clean.csv.zip`.
        origin: Where it comes from.

    Raises:
        DataError: If it is in neither place.
    """
    where = folder or Path()
    for path in (where / relative, where / relative.name):
        if path.is_file():
            return path
    raise DataError(
        f"The data folder holds no '{relative.as_posix()}'. Get it from {origin}, put it into a folder, and "
        "name that folder with --data DIR.",
        local=str(where.resolve()),
    )
