"""A folder that a `site.toml` describes, as the site wrote it for the training."""

from collections.abc import Mapping
from pathlib import Path

from lego_core.datasets._bag_folder import BagFolder
from lego_core.datasets._columns import SeriesColumns, TableColumns
from lego_core.datasets._image_folder import ImageFolder
from lego_core.datasets._listed import AbstractListedDataset
from lego_core.datasets._sheet import Sheet, read_sheet
from lego_core.datasets.bags import Bags
from lego_core.datasets.tables import ModalityFiles, Tables
from lego_core.errors import DataError
from lego_core.prediction._arrays import read_named_pictures
from lego_core.prediction._gathered import Gathered, read_folder
from lego_core.prediction._patients import SitePatients
from lego_core.prediction._sheets import RowsOf, text_columns
from lego_core.records import ModalitySchema
from lego_core.site_data import SITE_FILE, SiteData


def open_described(folder: Path, wanted: Mapping[str, ModalitySchema]) -> SitePatients:
    """Open a folder as its `site.toml` says; a modality whose files are not there is one that nobody has.

    Raises:
        DataError: If the description or a table does not hold.
    """
    data = SiteData.of(folder).data
    if not isinstance(data, Tables | Bags):
        return SitePatients.of_cohort(data.load(folder), wanted)
    own: Mapping[str, ModalityFiles] = (
        data.modalities
        if isinstance(data, Tables)
        else {data.modality: BagFolder.model_validate(data.model_dump(include=set(BagFolder.model_fields)))}
    )
    text = {data.id_column, *data.further_text_columns, *text_columns(list(wanted.values()))}
    patients = _patients_sheet(folder, data, text=text)
    ids = patients.texts(data.id_column) if patients else []
    found = Gathered([one for one in ids if one])
    for name, files in own.items():
        if name in wanted:
            _add_described(
                found, name, files, wanted[name], folder=folder, patients=patients, data=data, text=text
            )
    unknown = sorted(set(own) - set(wanted))
    if unknown:
        found.notices.append(f"'{SITE_FILE}' names {unknown}, which are not asked of this model: not read.")
    return found.patients()


def _add_described(
    found: Gathered,
    name: str,
    files: ModalityFiles,
    schema: ModalitySchema,
    *,
    folder: Path,
    patients: Sheet | None,
    data: AbstractListedDataset,
    text: set[str],
) -> None:
    """Read a modality from where the site says that it lies; say so if nothing lies there."""
    layout = files.layout
    if layout != schema.layout:
        raise DataError(
            f"'{SITE_FILE}' calls modality '{name}' a {layout}, and in the run it is a {schema.layout}. "
            "Correct its layout, or choose other modalities."
        )
    if isinstance(files, TableColumns | SeriesColumns):
        sheet = patients
        if files.file is not None:
            path = folder / files.file
            what = f"The table of modality '{name}'"
            sheet = read_sheet(path, what=what, text=text) if path.is_file() else None
        if sheet is not None:
            time = files.time_column if isinstance(files, SeriesColumns) else ""
            found.add(name, RowsOf(name, schema, data.id_column, time).read(sheet))
            return
    elif isinstance(files, ImageFolder) and files.image_column is not None:
        if patients is not None:
            ids, names = patients.texts(data.id_column), patients.texts(files.image_column)
            named = dict(zip(ids, names, strict=True))
            read = read_named_pictures(named, folder / files.folder, files, schema, modality=name)
            found.add(name, read)
            return
    elif (folder / files.folder).is_dir():
        found.add(name, read_folder(folder / files.folder, files, schema, modality=name))
        return
    found.notices.append(
        f"Modality '{name}' is in '{SITE_FILE}' and its files are not in the folder. Patients are predicted "
        "without it; put the files there if it was measured."
    )


def _patients_sheet(folder: Path, data: AbstractListedDataset, *, text: set[str]) -> Sheet | None:
    path = folder / data.patients
    return read_sheet(path, what="The patients table", text=text) if path.is_file() else None
