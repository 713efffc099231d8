"""What a site's description, `site.toml`, says about its data; all else in it concerns the client alone."""

import tomllib
from pathlib import Path
from typing import final

from pydantic import Field, ValidationError

from lego_core.component import Component, explain
from lego_core.datasets import Dataset
from lego_core.errors import DataError
from lego_core.split import Split

SITE_FILE = "site.toml"
KEYS = ("data", "split", "split-seed")


@final
class SiteData(Component):
    """The part of `site.toml` that tells of data.

    Args:
        data: Where and how they lie; paths are relative to the file.
        split: The site's own shares of training, validation and test patients.
        split_seed: Decides who is in which part, in place of the plan's seed.
    """

    data: Dataset
    split: Split | None = None
    split_seed: int | None = Field(default=None, ge=0)

    @classmethod
    def of(cls, folder: Path) -> "SiteData":
        """Read the description in a site's folder.

        Raises:
            DataError: If it cannot be read, is not TOML, or has no usable table `[data]`.
        """
        path = folder / SITE_FILE
        try:
            plain = tomllib.loads(path.read_text(encoding="utf-8"))
            return cls.model_validate({key: plain[key] for key in KEYS if key in plain})
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"The folder's '{SITE_FILE}', which tells where the data lie, cannot be read. Give the "
                "folder that holds it.",
                local=f"{path}: {error}",
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise DataError(f"'{SITE_FILE}' is not TOML. Mend the line.", local=f"{path}: {error}") from error
        except ValidationError as error:
            raise explain(error, where=f"'{SITE_FILE}'", kind=DataError) from error
