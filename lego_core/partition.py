"""Deal one cohort out to several hospitals, for rehearsals on one machine."""

from typing import Literal, Self, final

from pydantic import Field, model_validator

from lego_core.component import Component
from lego_core.datasets import Dataset
from lego_core.split import Split


@final
class HospitalGroup(Component):
    """Hospitals that hold the same modalities.

    Args:
        name: What they are called; several hospitals get a number behind it.
        modalities: What their training and validation patients have.
        hospitals: How many of them there are.
        share: Their share of all patients, relative to the other groups.
        split: Their own shares of training, validation and test patients; the plan's if
            not given.
        complete_test: Their test patients keep every modality, so that subsets and merges
            can be tested there.
    """

    name: str = Field(min_length=1)
    modalities: tuple[str, ...] = Field(min_length=1)
    hospitals: int = Field(default=1, ge=1)
    share: float = Field(default=1.0, gt=0)
    split: Split | None = None
    complete_test: bool = False


@final
class Simulation(Component):
    """How a dataset becomes hospitals.

    Every patient goes to one hospital and keeps only what this hospital measures, so
    that nothing is paired unless a group holds several modalities.

    Args:
        data: The dataset.
        groups: The hospitals.
        by: `patient` deals patients; `hospital` deals whole real hospitals of the data.
        size_skew: 0 gives the hospitals of a group equal sizes; 1 makes the largest about
            twice, 3 about four times the smallest.
        label_skew: 0 deals outcomes evenly; 1 sorts patients by outcome before dealing.
    """

    data: Dataset
    groups: tuple[HospitalGroup, ...] = Field(min_length=1)
    by: Literal["patient", "hospital"] = "patient"
    size_skew: float = Field(default=0.0, ge=0)
    label_skew: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names):
            raise ValueError(f"two groups of hospitals share a name among {names}; give each its own")
        return self

    @property
    def num_hospitals(self) -> int:
        """How many sites there are in all."""
        return sum(group.hospitals for group in self.groups)
