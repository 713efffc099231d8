"""Tables of a hospital: a list of patients, and a file or folder for each modality."""

from typing import Annotated, Literal, final

from pydantic import Field

from lego_core.datasets._assembly import Measured
from lego_core.datasets._bag_folder import BagFolder
from lego_core.datasets._columns import SeriesColumns, TableColumns
from lego_core.datasets._image_folder import ImageFolder
from lego_core.datasets._listed import AbstractListedDataset
from lego_core.datasets._patients import Patients

ModalityFiles = Annotated[
    TableColumns | SeriesColumns | BagFolder | ImageFolder, Field(discriminator="layout")
]


@final
class Tables(AbstractListedDataset):
    """A hospital's own tables, described by settings.

        kind = "tables"
        patients = "patients.csv"
        outcome = { kind = "survival", event-column = "event", time-column = "time_days" }

        [modalities.clinical]
        layout = "table"
        file = "clinical.csv"
        features = ["age", "bili"]
        categories = { sex = ["f", "m"] }

        [modalities.laboratory]
        layout = "series"
        file = "laboratory.csv"
        time-column = "day"

    A patient who has no row (or nothing but empty cells) in a modality's file does not have
    the modality. Files are CSV (plain, .gz, .zip) with a line of column names, or parquet.

    Args:
        modalities: By name, each with its layout: `table`, `series`, `bag` or `image`.

    Source:
        The hospital's own data. Layout after "tidy data": Wickham. Journal of Statistical
        Software 59(10), 2014. doi:10.18637/jss.v059.i10.
    """

    kind: Literal["tables"] = "tables"
    modalities: dict[str, ModalityFiles] = Field(min_length=1)

    @property
    def further_text_columns(self) -> tuple[str, ...]:
        names: list[str] = []
        for files in self.modalities.values():
            if isinstance(files, ImageFolder) and files.image_column is not None:
                names.append(files.image_column)
            if isinstance(files, TableColumns | SeriesColumns) and files.file is None:
                names.extend(files.categories)
        return tuple(names)

    def measure(self, patients: Patients) -> dict[str, Measured]:
        return {name: files.measure(patients, name=name) for name, files in self.modalities.items()}
