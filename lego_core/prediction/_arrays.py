"""Bags and pictures: one file per patient, opened when its patient's turn has come."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lego_core.datasets._assembly import as_float32
from lego_core.datasets._bag_folder import BAG_SUFFIXES, BagFolder
from lego_core.datasets._files import patient_of
from lego_core.datasets._image_folder import ImageFolder
from lego_core.datasets._pictures import PICTURE_SUFFIXES
from lego_core.errors import DataError
from lego_core.prediction._patients import Problem, Source, as_agreed, check_fits
from lego_core.records import Measurement, ModalitySchema

SEVERAL = "Several files are one patient's. Keep one."

ArrayFolder = BagFolder | ImageFolder


def folder_settings(schema: ModalitySchema, folder: Path) -> ArrayFolder:
    """How to read a folder that nobody described: as the run's modality is."""
    if schema.layout == "image" and schema.grid is not None:
        channels = 3 if schema.num_features == 3 else 1
        return ImageFolder(folder=folder, size=schema.grid, channels=channels, features=schema.features)
    return BagFolder(folder=folder, features=schema.features)


def suffixes_of(settings: ArrayFolder) -> Sequence[str]:
    """Endings of the files that count."""
    return PICTURE_SUFFIXES if isinstance(settings, ImageFolder) else BAG_SUFFIXES


def read_arrays(
    files: Sequence[Path], settings: ArrayFolder, schema: ModalitySchema, *, modality: str
) -> tuple[Source, list[Problem], list[str]]:
    """Give what may be read of these files, two files of one patient, and what a reader must know of all.

    Raises:
        DataError: If the settings do not fit the run's modality.
    """
    own = _own_schema(settings, schema)
    notices = check_fits(own, schema, modality=modality)
    by_patient: dict[str, list[Path]] = {}
    for path in files:
        by_patient.setdefault(patient_of(path), []).append(path)
    problems = [
        Problem(patient, modality, ", ".join(path.name for path in paths), SEVERAL)
        for patient, paths in by_patient.items()
        if len(paths) > 1
    ]
    return (
        _source({p: paths[0] for p, paths in by_patient.items() if len(paths) == 1}, settings, own, schema),
        problems,
        notices,
    )


def read_named_pictures(
    names: Mapping[str, str], folder: Path, settings: ImageFolder, schema: ModalitySchema, *, modality: str
) -> tuple[Source, list[Problem], list[str]]:
    """The same for pictures that a column of the patients table names."""
    own = _own_schema(settings, schema)
    notices = check_fits(own, schema, modality=modality)
    return (
        _source({p: folder / name for p, name in names.items() if name}, settings, own, schema),
        [],
        notices,
    )


def _own_schema(settings: ArrayFolder, schema: ModalitySchema) -> ModalitySchema:
    if isinstance(settings, ImageFolder):
        return settings.image_schema
    return ModalitySchema(layout="bag", features=settings.features or schema.features)


def _source(
    paths: Mapping[str, Path], settings: ArrayFolder, own: ModalitySchema, agreed: ModalitySchema
) -> Source:
    def read(patient_id: str) -> Measurement:
        path = paths[patient_id]
        if not path.is_file():
            raise DataError("The file is not there. Put it there, or leave the cell that names it empty.")
        rows = settings.read(path, what="The file")
        if rows.shape[1] != own.num_features:
            raise DataError(
                f"The file has {rows.shape[1]} columns, and {own.num_features} features are to be read. Make "
                "it with the program that made those of the run."
            )
        return as_agreed(Measurement(as_float32(rows)), own=own, agreed=agreed)

    return Source(agreed, {patient: path.name for patient, path in paths.items()}, read)
