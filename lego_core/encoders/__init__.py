"""One modality in, tokens out. To add an encoder, write a file beside these and name it here."""

from typing import Annotated

from pydantic import Field

from lego_core.encoders._wrapping import wrap_module
from lego_core.encoders.image import Image
from lego_core.encoders.module import Module
from lego_core.encoders.patches import Patches
from lego_core.encoders.tabular import Tabular
from lego_core.encoders.time_series import TimeSeries
from lego_core.encoders.transformer import Transformer

Encoder = Annotated[
    Image | Module | Patches | Tabular | TimeSeries | Transformer, Field(discriminator="kind")
]

__all__ = [
    "Encoder",
    "Image",
    "Module",
    "Patches",
    "Tabular",
    "TimeSeries",
    "Transformer",
    "wrap_module",
]
