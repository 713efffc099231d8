"""What lies in a folder or file, and which modalities of a run it holds."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lego_core.datasets._bag_folder import BAG_SUFFIXES
from lego_core.datasets._files import file_stem
from lego_core.datasets._pictures import PICTURE_SUFFIXES
from lego_core.datasets._sheet import Sheet, read_sheet
from lego_core.errors import DataError
from lego_core.prediction._arrays import folder_settings, read_arrays
from lego_core.prediction._described import open_described
from lego_core.prediction._gathered import Gathered, read_folder
from lego_core.prediction._patients import SitePatients
from lego_core.prediction._sheets import RowsOf, text_columns
from lego_core.records import ModalitySchema
from lego_core.site_data import SITE_FILE

ID, TIME, PATIENTS = "patient_id", "time_days", "patients"
TABLES = (".csv", ".csv.gz", ".csv.zip", ".parquet")


def open_patients(
    path: Path, agreed: Mapping[str, ModalitySchema], *, modality: str | None = None
) -> SitePatients:
    """Open a site's data for prediction; outcomes are not asked for, and nobody needs every modality.

    Args:
        path: A folder with a `site.toml`, which describes it; or one with a table `NAME.csv` (or
            `.parquet`) or a folder `NAME/` for each modality, with the columns `patient_id` and, in
            series, `time_days`; or one file: a table of one modality, a wide table with columns of
            several (`NAME.FEATURE` where two share a name), or one patient's bag or picture.
        agreed: The run's modalities.
        modality: Read this one only.

    Raises:
        DataError: If there is nothing to read, the description does not hold, or a table lacks what
            every row needs. What is wrong with single rows and files is told as problems.
    """
    if modality is not None and modality not in agreed:
        raise DataError(
            f"The model knows no modality '{modality}'. It knows {list(agreed)}; choose one of them."
        )
    wanted = {name: schema for name, schema in agreed.items() if modality in (None, name)}
    if path.is_file():
        return _open_file(path, wanted, modality=modality)
    if not path.is_dir():
        raise DataError(
            "The input is neither a file nor a folder. Give a table, or the folder of a site's data.",
            local=str(path),
        )
    if (path / SITE_FILE).is_file():
        return open_described(path, wanted)
    return _open_by_names(path, wanted)


def _open_file(path: Path, wanted: Mapping[str, ModalitySchema], *, modality: str | None) -> SitePatients:
    if path.suffix.lower() in (*BAG_SUFFIXES, *PICTURE_SUFFIXES):
        name = _only_array(wanted)
        settings, found = folder_settings(wanted[name], path.parent), Gathered([])
        found.add(name, read_arrays([path], settings, wanted[name], modality=name))
        return found.patients()
    texts = {name: text_columns([schema]) for name, schema in wanted.items()}
    own = {f"{name}.{column}" for name, columns in texts.items() for column in columns}
    sheet = read_sheet(path, what="The table", text={ID, *own}.union(*texts.values()))
    sheet.require([ID])
    layouts = ("table", "series") if modality else ("series",) if TIME in sheet.frame.columns else ("table",)
    seen = {name: _view(sheet, name, schema) for name, schema in wanted.items() if schema.layout in layouts}
    views = {name: view for name, view in seen.items() if _has_any(view, wanted[name])}
    if not views:
        raise DataError(
            f"The table holds none of the features of {list(wanted)}. Name its columns as in the run; a "
            f"table with a column '{TIME}' is read as a series, one without as one row per patient.",
            local=f"{path} has the columns {list(sheet.frame.columns)[:20]}",
        )
    found = Gathered([one for one in sheet.texts(ID) if one])
    for name, view in views.items():
        found.add(name, _rows_of(name, wanted[name]).read(view))
    return found.patients()


def _open_by_names(folder: Path, wanted: Mapping[str, ModalitySchema]) -> SitePatients:
    found = Gathered(_listed(folder))
    for name, schema in wanted.items():
        stem = file_stem(name)
        if schema.layout in ("bag", "image"):
            if (folder / stem).is_dir():
                settings = folder_settings(schema, Path(stem))
                found.add(name, read_folder(folder / stem, settings, schema, modality=name))
            continue
        table = next((p for end in TABLES if (p := folder / f"{stem}{end}").is_file()), None)
        if table is not None:
            sheet = read_sheet(
                table, what=f"The table of modality '{name}'", text={ID, *text_columns([schema])}
            )
            found.add(name, _rows_of(name, schema).read(sheet))
    if not found.sources and not found.ids:
        raise DataError(
            f"The folder holds nothing of the modalities {list(wanted)}: neither a '{SITE_FILE}' that "
            "describes it, nor tables or folders called like them. Give the folder of a site's data."
        )
    return found.patients()


def _listed(folder: Path) -> list[str]:
    """The patients of `patients.csv`, if there is one."""
    for end in TABLES:
        path = folder / f"{PATIENTS}{end}"
        if path.is_file():
            return read_sheet(path, what="The patients table", text={ID}).texts(ID)
    return []


def _rows_of(name: str, schema: ModalitySchema) -> RowsOf:
    return RowsOf(name, schema, ID, TIME if schema.layout == "series" else "")


def _view(sheet: Sheet, name: str, schema: ModalitySchema) -> Sheet:
    """The table as one modality sees it: its own `NAME.FEATURE` columns stand before plain ones."""
    columns = {*schema.features, *text_columns([schema])}
    own = {f"{name}.{one}": one for one in columns if f"{name}.{one}" in sheet.frame.columns}
    if not own:
        return sheet
    others = sheet.frame.drop(columns=[one for one in own.values() if one in sheet.frame.columns])
    return replace(sheet, frame=others.rename(columns=own))


def _has_any(sheet: Sheet, schema: ModalitySchema) -> bool:
    return bool({*schema.features, *text_columns([schema])} & set(sheet.frame.columns))


def _only_array(wanted: Mapping[str, ModalitySchema]) -> str:
    names = [name for name, schema in wanted.items() if schema.layout in ("bag", "image")]
    if len(names) != 1:
        raise DataError(
            f"The file is one patient's bag or picture, and the model reads {len(names)} such modalities "
            f"{names}. Say which one with --modality, or give a table."
        )
    return names[0]
