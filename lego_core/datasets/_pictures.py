"""One picture on a disk becomes rows of pixels."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from lego_core.component import Component
from lego_core.datasets._files import read_array
from lego_core.errors import DataError
from lego_core.records import ModalitySchema

PIXEL_KEY = "pixels"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".npz")
_CHANNEL_NAMES = {1: ("grey",), 3: ("red", "green", "blue")}


class AbstractPictures(Component):
    """What every picture of a modality looks like, and how it is read.

    Values are as stored: 0 to 255 in most files, more in 16-bit ones; DICOM values are
    rescaled as the file says (Hounsfield units in CT), and larger is brighter in all of them.

    Args:
        size: Height and width in pixels.
        channels: 1 reads grey, 3 reads red, green and blue.
        resize: Bring pictures of other sizes to `size`; they are refused if not set.
        features: Names of the channels of `.npz` pictures, which may have any number of them.
    """

    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    channels: Literal[1, 3] = 1
    resize: bool = False
    features: tuple[str, ...] | None = None

    @property
    def image_schema(self) -> ModalitySchema:
        """Layout, channels and grid."""
        return ModalitySchema(
            layout="image", features=self.features or _CHANNEL_NAMES[self.channels], grid=self.size
        )

    def read(self, path: Path, *, what: str) -> np.ndarray:
        """Read a picture as pixels by channels (height × width, F), in reading order.

        Args:
            path: A `.png`, `.jpg`, `.dcm` (DICOM) or `.npz` file (array `pixels`).
            what: What an error calls the file, as the start of a sentence.

        Raises:
            DataError: If it cannot be read, or has another size or number of channels.
        """
        if path.suffix.lower() == ".npz":
            pixels = read_array(path, key=PIXEL_KEY, what=what)
        elif path.suffix.lower() == ".dcm":
            pixels = _read_dicom(path, what=what)
        else:
            pixels = _read_photo(path, channels=self.channels, what=what)
        return self.fit(pixels, path=path, what=what)

    def fit(self, pixels: np.ndarray, *, path: Path, what: str) -> np.ndarray:
        """Bring an array (height, width) or (height, width, F) to pixels by channels.

        Raises:
            DataError: If it has another size or number of channels than the settings say.
        """
        if pixels.ndim == 2:
            pixels = np.stack([pixels] * (3 if self.channels == 3 else 1), axis=2)
        if pixels.ndim != 3 or pixels.size == 0:
            raise DataError(
                f"{what} holds an array of shape {pixels.shape}; a picture has height, width and channels. "
                "Write one flat picture per file.",
                local=str(path),
            )
        if pixels.shape[:2] != self.size:
            if not self.resize:
                raise DataError(
                    f"{what} is {pixels.shape[0]}×{pixels.shape[1]} pixels, and the settings say "
                    f"{self.size[0]}×{self.size[1]}. Set resize = true, or correct 'size' (height, width).",
                    local=str(path),
                )
            pixels = _resized(pixels, self.size)
        wanted = self.image_schema.num_features
        if pixels.shape[2] != wanted:
            raise DataError(
                f"{what} has {pixels.shape[2]} channels, and the settings name {wanted}. "
                "Correct 'channels' or 'features'.",
                local=str(path),
            )
        return pixels.reshape(-1, pixels.shape[2]).astype(np.float32)


def _read_photo(path: Path, *, channels: int, what: str) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # 16 or 32 bits: converting would cut them to 8
                return np.asarray(image, dtype=np.float32)
            return np.asarray(image.convert("L" if channels == 1 else "RGB"), dtype=np.float32)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise _unreadable(path, what=what, error=error) from None


def _read_dicom(path: Path, *, what: str) -> np.ndarray:
    pydicom = _import_pydicom()
    try:
        dataset = pydicom.dcmread(path)
        pixels = np.asarray(dataset.pixel_array, dtype=np.float32)
    except (OSError, ValueError, AttributeError, RuntimeError, pydicom.errors.InvalidDicomError) as error:
        raise _unreadable(path, what=what, error=error) from None
    if dataset.PhotometricInterpretation == "MONOCHROME1":  # counts from white to black
        pixels = 2**dataset.BitsStored - 1 - pixels
    slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
    return pixels * np.float32(slope) + np.float32(intercept)


def _import_pydicom() -> Any:
    try:
        return import_module("pydicom")
    except ImportError:
        raise DataError(
            "The data hold DICOM files, and pydicom, which reads them, is not installed. "
            "Install the extra 'dicom', or convert the files to PNG."
        ) from None


def _unreadable(path: Path, *, what: str, error: Exception) -> DataError:
    return DataError(
        f"{what} cannot be read. Give a PNG, JPEG or DICOM file that opens elsewhere.",
        local=f"{path}: {error}",
    )


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    channels = [Image.fromarray(channel.astype(np.float32)) for channel in np.moveaxis(pixels, 2, 0)]
    height, width = size
    return np.stack(
        [np.asarray(one.resize((width, height), Image.Resampling.BILINEAR)) for one in channels], axis=2
    )
