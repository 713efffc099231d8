"""Folders of pictures, sorted by class."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
from pydantic import model_validator

from lego_core.datasets._assembly import assemble, whole_measurements
from lego_core.datasets._contract import AbstractDataset
from lego_core.datasets._files import files_of, read_array
from lego_core.datasets._pictures import PICTURE_SUFFIXES, AbstractPictures
from lego_core.errors import DataError
from lego_core.records import Cohort, Part

_PARTS: dict[str, Part] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture as it was read, whose it is, and what it shows."""

    patient_id: str
    pixels: np.ndarray
    outcome: list[float]
    part: Part | None


@final
class Images(AbstractDataset, AbstractPictures):
    """One picture per patient, and a class for each.

    Either a folder with a folder per class (`normal/a.png`), possibly below folders `train`,
    `val` and `test`; or one `.npz` file in the manner of MedMNIST (`train_images`, `train_labels`,
    and so on for `val` and `test`).

    Args:
        folder: The folder of pictures.
        file: The `.npz` file instead.
        modality: What the pictures are called.
        classes: Names of the class folders; their order is the order of the outputs. All folders
            in order of the alphabet if not given; give them where a site may lack a class.
        patient_pattern: A regular expression whose first group, searched in the name of a file
            without its ending, is the patient's identifier. The whole name if not given. Two
            pictures of one patient are refused: a patient is one record, and must not be in
            train and test.

    Source:
        The hospital's own pictures; or Yang et al. "MedMNIST v2 - A large-scale lightweight
        benchmark for 2D and 3D biomedical image classification." Scientific Data 10, 2023.
        doi:10.1038/s41597-022-01721-8.
    """

    kind: Literal["images"] = "images"
    folder: Path | None = None
    file: Path | None = None
    modality: str = "image"
    classes: tuple[str, ...] | None = None
    patient_pattern: str | None = None

    @model_validator(mode="after")
    def _check_settings(self) -> "Images":
        if (self.folder is None) == (self.file is None):
            raise ValueError("folder and file are both given or both absent; give one of them")
        if self.patient_pattern is not None:
            try:
                groups = re.compile(self.patient_pattern).groups
            except re.error as error:
                raise ValueError(f"patient-pattern is no regular expression: {error}") from None
            if groups < 1:
                raise ValueError("patient-pattern has no group; put the identifier in parentheses")
        return self

    @property
    def classes_in_order(self) -> tuple[str, ...] | None:
        """As the settings list them."""
        return self.classes

    def load(self, folder: Path | None = None) -> Cohort:
        where = folder or Path()
        read = (
            self._read_archive(where / self.file)
            if self.file
            else self._read_folders(where / str(self.folder))
        )
        pictures = list(read)
        _require_one_each(pictures)
        ids = [picture.patient_id for picture in pictures]
        measured = whole_measurements(ids, [picture.pixels for picture in pictures], schema=self.image_schema)
        return assemble(
            ids,
            np.array([picture.outcome for picture in pictures]),
            modalities={self.modality: measured},
            parts=[picture.part for picture in pictures],
        )

    def _read_archive(self, path: Path) -> Iterator[_Picture]:
        """Read a file in the manner of MedMNIST; labels are a class, or 0 and 1 per finding."""
        what = "The picture archive"
        if not path.is_file():
            raise DataError(f"{what} is not there. Check 'file' and the folder of the data.", local=str(path))
        for name in ("train", "val", "test"):
            images = read_array(path, key=f"{name}_images", what=what)
            labels = read_array(path, key=f"{name}_labels", what=what)
            if len(images) != len(labels):
                raise DataError(
                    f"{what} holds {len(images)} pictures and {len(labels)} labels in part '{name}'. "
                    "Give every picture one row of labels.",
                    local=str(path),
                )
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                pixels = self.fit(image, path=path, what="A picture of the archive")
                yield _Picture(f"{name}-{number}", pixels, np.atleast_1d(label).tolist(), _PARTS[name])

    def _read_folders(self, root: Path) -> Iterator[_Picture]:
        folders = _subfolders(root)
        if {path.name for path in folders} <= set(_PARTS):
            classes: list[tuple[Part | None, Path]] = [
                (_PARTS[part.name], path) for part in folders for path in _subfolders(part)
            ]
        else:
            classes = [(None, path) for path in folders]
        names = self._class_names(sorted({path.name for _, path in classes}))
        for part, folder in classes:
            outcome = [float(names.index(folder.name))]
            for path in files_of(folder, suffixes=PICTURE_SUFFIXES, what="A class folder"):
                yield _Picture(self._patient_of(path), self.read(path, what="A picture"), outcome, part)

    def _class_names(self, found: list[str]) -> list[str]:
        classes = found if self.classes is None else list(self.classes)
        unknown = sorted(set(found) - set(classes))
        if unknown or len(classes) < 2:
            raise DataError(
                f"Of {len(found)} class folders, {len(unknown)} are called like no class of the settings "
                f"({list(self.classes or ())}), and two classes are the least. Name folders by class, and "
                "list every class under 'classes'.",
                local=f"class folders {found}",
            )
        return classes

    def _patient_of(self, path: Path) -> str:
        if self.patient_pattern is None:
            return path.stem
        match = re.search(self.patient_pattern, path.stem)
        if match is None or not match.group(1):
            raise DataError(
                "A picture's name does not fit 'patient-pattern', so it belongs to nobody. Correct the "
                "pattern, or rename the file.",
                local=str(path),
            )
        return match.group(1)


def _subfolders(root: Path) -> list[Path]:
    found = (
        sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")
        if root.is_dir()
        else []
    )
    if not found:
        raise DataError(
            "The folder of pictures is not there or has no folders inside. Put pictures into one folder per "
            "class, and these, if the split is given, into folders train, val and test.",
            local=str(root),
        )
    return found


def _require_one_each(pictures: Sequence[_Picture]) -> None:
    counts = Counter(picture.patient_id for picture in pictures)
    parts = Counter(
        patient_id for patient_id, _ in {(picture.patient_id, picture.part) for picture in pictures}
    )
    doubled = [patient_id for patient_id, count in counts.items() if count > 1]
    astray = [patient_id for patient_id, count in parts.items() if count > 1]
    if doubled:
        raise DataError(
            f"{len(doubled)} of {len(counts)} patients have more than one picture, {len(astray)} of them in "
            "more than one part of the split. Keep one picture of each patient, in one part.",
            local=f"first patients: {doubled[:5]}",
        )
