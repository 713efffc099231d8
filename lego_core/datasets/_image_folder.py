"""Images: one picture per patient in a folder."""

from pathlib import Path
from typing import Literal, final

from lego_core.datasets._assembly import Measured, whole_measurements
from lego_core.datasets._files import files_of, patient_of, require_one_each
from lego_core.datasets._patients import Patients
from lego_core.datasets._pictures import PICTURE_SUFFIXES, AbstractPictures
from lego_core.errors import DataError


@final
class ImageFolder(AbstractPictures):
    """A folder of pictures, called by the identifier or by a column of the patients table.

    Args:
        folder: The folder.
        image_column: Column of the patients table with the name of each patient's file inside
            the folder, empty for patients without. Files are `<identifier>.png` (or .jpg, .dcm,
            .npz) if not given.
    """

    layout: Literal["image"] = "image"
    folder: Path
    image_column: str | None = None

    def measure(self, patients: Patients, *, name: str) -> Measured:
        """Read the modality.

        Raises:
            DataError: If a picture is missing, cannot be read, or does not fit the settings.
        """
        files = self._by_patient(patients, what=f"The folder of modality '{name}'")
        what = f"A picture of modality '{name}'"
        pictures = [self.read(path, what=what) for path in files.values()]
        return whole_measurements(list(files), pictures, schema=self.image_schema)

    def _by_patient(self, patients: Patients, *, what: str) -> dict[str, Path]:
        folder = patients.folder / self.folder
        if self.image_column is None:
            files = files_of(folder, suffixes=PICTURE_SUFFIXES, what=what)
            require_one_each(files, what=what)
            return {patient_of(path): path for path in patients.listed_files(files, what=what)}
        names = patients.sheet.texts(self.image_column)
        paths = {patient: folder / name for patient, name in zip(patients.ids, names, strict=True) if name}
        missing = [str(path) for path in paths.values() if not path.is_file()]
        if missing or not paths:
            raise DataError(
                f"{what} lacks {len(missing)} of {len(paths)} files that column '{self.image_column}' names. "
                "Put them there, or leave the cell empty for patients without a picture.",
                local=f"first: {missing[:5]}",
            )
        return paths
