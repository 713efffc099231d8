"""What every dataset promises."""

from abc import abstractmethod
from pathlib import Path

from lego_core.component import Component
from lego_core.records import Cohort


class AbstractDataset(Component):
    """Settings that tell where patients lie on a disk, and how to read them.

    A cohort holds values as they were measured: float32, NaN where nothing was, never
    infinite, never scaled to a group's mean and spread. Loading twice gives the same
    cohort, and nothing is ever downloaded.
    """

    @property
    def classes_in_order(self) -> tuple[str, ...] | None:
        """How the settings number the classes of the outcome; None if they do not say."""
        return None

    @abstractmethod
    def load(self, folder: Path | None = None) -> Cohort:
        """Read every patient.

        Args:
            folder: Where the data lie; relative paths in the settings start here. The
                current folder if not given. Datasets that come with a package or are
                made up need none.

        Raises:
            DataError: If files are missing, damaged, or do not fit the settings.
        """
