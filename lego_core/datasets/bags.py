"""Bags, such as the patches of a slide, and a table of outcomes."""

from pathlib import Path
from typing import Literal, final

from pydantic import Field

from lego_core.datasets._assembly import Measured
from lego_core.datasets._bag_folder import BAG_KEY, BagFolder
from lego_core.datasets._listed import AbstractListedDataset
from lego_core.datasets._patients import Patients


@final
class Bags(AbstractListedDataset):
    """One modality only: a folder of bags, and the table of patients with their outcomes.

    What `Tables` does for any number of modalities, in fewer words.

    Args:
        modality: What the bags are called.
        folder: One `.npz`, `.npy` or `.h5` file per patient, called by the identifier.
        key: Name of the array (rows, F) inside each file.
        max_instances: Take no more rows than this of any patient, chosen at random.
        seed: Another seed takes other rows.

    Source:
        Files as CLAM writes them: Lu et al. "Data-efficient and weakly supervised computational
        pathology on whole-slide images." Nature Biomedical Engineering 5, 2021.
        doi:10.1038/s41551-020-00682-w.
    """

    kind: Literal["bags"] = "bags"
    modality: str = "patches"
    folder: Path = Path("bags")
    key: str = BAG_KEY
    max_instances: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)

    def measure(self, patients: Patients) -> dict[str, Measured]:
        bags = BagFolder(folder=self.folder, key=self.key, max_instances=self.max_instances, seed=self.seed)
        return {self.modality: bags.measure(patients, name=self.modality)}
