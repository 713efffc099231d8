"""Folders with one file per patient, and the arrays inside such files."""

import zipfile
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from urllib.parse import quote, unquote

import h5py
import numpy as np

from lego_core.errors import DataError


def file_stem(patient_id: str) -> str:
    """Name a patient's file: the identifier, with unusual signs written as in web addresses."""
    return quote(patient_id, safe=" ")


def patient_of(path: Path) -> str:
    """Tell whose file it is."""
    return unquote(path.stem)


def files_of(folder: Path, *, suffixes: Collection[str], what: str) -> list[Path]:
    """List the files of a folder, in order of their names.

    Args:
        folder: The folder; its subfolders are not looked at.
        suffixes: Endings of the files that count, in lower case.
        what: What an error calls the folder, as the start of a sentence.

    Raises:
        DataError: If there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise DataError(
            f"{what} is not there. Check the folder's name in the settings and the folder of the data.",
            local=str(folder),
        )
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    if not files:
        raise DataError(
            f"{what} holds no file that ends in one of {sorted(suffixes)}. Check that it is the right "
            "folder.",
            local=str(folder),
        )
    return files


def require_one_each(files: Iterable[Path], *, what: str) -> None:
    """Refuse two files of one patient."""
    counts = Counter(patient_of(path) for path in files)
    doubled = [patient_id for patient_id, count in counts.items() if count > 1]
    if doubled:
        raise DataError(
            f"{what} holds more than one file for {len(doubled)} of {len(counts)} patients. Keep one file "
            "each.",
            local=f"first patients: {doubled[:5]}",
        )


def read_array(path: Path, *, key: str, what: str) -> np.ndarray:
    """Read one array of numbers from a `.npy`, `.npz` or `.h5` file. Pickled objects are never read.

    Args:
        path: The file.
        key: Name of the array inside; a `.npy` file has no names.
        what: What an error calls the file, as the start of a sentence.

    Raises:
        DataError: If the file cannot be read, has no such array, or holds something else than finite
            or missing numbers.
    """
    try:
        array = _open_array(path, key)
    except KeyError as error:
        raise DataError(
            f"{what} holds no array '{key}'. Write the array under this name, or correct 'key' in the "
            "settings.",
            local=f"{path}: {error}",
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{what} cannot be read. Give a .npy, .npz or .h5 file of plain numbers that opens elsewhere.",
            local=f"{path}: {error}",
        ) from None
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{what} holds something else than numbers. Write float32 values.", local=f"{path}, '{key}'"
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if np.isinf(values).any():
        raise DataError(
            f"{what} holds infinite or immense numbers. Write NaN where nothing was measured.",
            local=f"{path}, '{key}', first at {np.argwhere(np.isinf(values))[0].tolist()}",
        )
    return values


def _open_array(path: Path, key: str) -> np.ndarray:
    if path.suffix.lower() in (".h5", ".hdf5"):
        with h5py.File(path) as file:
            return np.asarray(file[key])
    if path.suffix.lower() == ".npy":
        return np.load(path, allow_pickle=False)
    with np.load(path, allow_pickle=False) as archive:
        return archive[key]
