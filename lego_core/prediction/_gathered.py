"""What the modalities of some patients give, one after the other."""

from dataclasses import dataclass, field
from pathlib import Path

from lego_core.datasets._bag_folder import BagFolder
from lego_core.datasets._image_folder import ImageFolder
from lego_core.prediction._arrays import read_arrays, suffixes_of
from lego_core.prediction._patients import Problem, SitePatients, Source
from lego_core.records import ModalitySchema

Read = tuple[Source, list[Problem], list[str]]  # what a modality gives, what is wrong, what to tell


@dataclass(frozen=True)
class Gathered:
    """What was found so far.

    Args:
        ids: The patients that a table lists; those who only hold something come behind them.
    """

    ids: list[str]
    sources: dict[str, Source] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, modality: str, read: Read) -> None:
        """Take in one more modality."""
        source, problems, notices = read
        self.sources[modality] = source
        self.problems.extend(problems)
        self.notices.extend(notices)

    def patients(self) -> SitePatients:
        """All of them."""
        listed = (patient for source in self.sources.values() for patient in source.places)
        named = (problem.patient_id for problem in self.problems)
        ids = tuple(one for one in dict.fromkeys([*self.ids, *listed, *named]) if one)
        return SitePatients(ids, self.sources, tuple(self.notices), tuple(self.problems))


def read_folder(
    folder: Path, settings: BagFolder | ImageFolder, schema: ModalitySchema, *, modality: str
) -> Read:
    """Find the files of a folder; they are opened later."""
    suffixes = suffixes_of(settings)
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    return read_arrays(files, settings, schema, modality=modality)
