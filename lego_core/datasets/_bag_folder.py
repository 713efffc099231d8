"""Bags: one file per patient with any number of rows in no order, such as patches of a slide."""

import zlib
from pathlib import Path
from typing import Literal, final

import numpy as np
from pydantic import Field

from lego_core.component import Component
from lego_core.datasets._assembly import Measured, whole_measurements
from lego_core.datasets._files import files_of, patient_of, read_array, require_one_each
from lego_core.datasets._patients import Patients
from lego_core.errors import DataError
from lego_core.records import ModalitySchema

BAG_KEY = "features"
BAG_SUFFIXES = (".npz", ".npy", ".h5", ".hdf5")


@final
class BagFolder(Component):
    """A folder with one `.npz`, `.npy` or `.h5` file per patient, called by the identifier.

    Args:
        folder: The folder.
        key: Name of the array (rows, F) inside each file.
        features: Names of the F columns; `feature-0`, `feature-1`, … if not given.
        max_instances: Take no more rows than this of any patient, chosen at random.
        seed: Another seed takes other rows.
    """

    layout: Literal["bag"] = "bag"
    folder: Path
    key: str = BAG_KEY
    features: tuple[str, ...] | None = None
    max_instances: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    def measure(self, patients: Patients, *, name: str) -> Measured:
        """Read the modality.

        Raises:
            DataError: If a file cannot be read, is empty, or has another number of columns.
        """
        what = f"The folder of modality '{name}'"
        files = files_of(patients.folder / self.folder, suffixes=BAG_SUFFIXES, what=what)
        require_one_each(files, what=what)
        files = patients.listed_files(files, what=what)
        bags = {patient_of(path): self.read(path, what=f"A file of modality '{name}'") for path in files}
        widths = {bag.shape[1] for bag in bags.values()}
        features = self.features or numbered_features(min(widths, default=0))
        if widths != {len(features)}:
            odd = [path for path in files if bags[patient_of(path)].shape[1] != len(features)]
            raise DataError(
                f"{len(odd)} of {len(files)} files of modality '{name}' have another number of columns than "
                f"the {len(features)} of the others or of the settings. Extract every bag with one program.",
                local=f"first: {[str(path) for path in odd[:5]]}",
            )
        return whole_measurements(
            list(bags), list(bags.values()), schema=ModalitySchema(layout="bag", features=features)
        )

    def read(self, path: Path, *, what: str) -> np.ndarray:
        """Read one bag (rows, F).

        Raises:
            DataError: If the file cannot be read, or holds no bag.
        """
        bag = read_array(path, key=self.key, what=what)
        if bag.ndim != 2 or bag.size == 0:
            raise DataError(
                f"{what} holds an array of shape {bag.shape}, and a bag has rows and columns, at least one "
                "of each. Leave the file out if nothing was measured.",
                local=str(path),
            )
        if self.max_instances is None or len(bag) <= self.max_instances:
            return bag
        rng = np.random.default_rng([self.seed, zlib.crc32(patient_of(path).encode())])
        return bag[np.sort(rng.choice(len(bag), self.max_instances, replace=False))]


def numbered_features(count: int) -> tuple[str, ...]:
    """Name columns that have no names."""
    return tuple(f"feature-{index}" for index in range(count))
