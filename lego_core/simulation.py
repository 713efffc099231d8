"""How a dataset becomes hospitals, for rehearsals on one machine: the settings."""

from typing import Literal, final

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

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    modalities: tuple[str, ...] = Field(min_length=1)
    hospitals: int = Field(default=1, ge=1)
    share: float = Field(default=1.0, gt=0)
    split: Split | None = None
    complete_test: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its hospitals."""
        numbered = (f"{self.name}-{number}" for number in range(1, self.hospitals + 1))
        return (self.name,) if self.hospitals == 1 else tuple(numbered)


@final
class Simulation(Component):
    """How a dataset becomes hospitals.

    Every patient goes to one hospital and keeps only what this hospital measures, so
    that nothing is paired unless a group holds several modalities.

    Args:
        data: The dataset.
        groups: The hospitals.
        by: `patient` deals patients; `hospital` deals whole real hospitals of the data, the
            largest first, each to the group that lacks most of its share, and within the
            group to the hospital that has fewest.
        size_skew: 0 gives the hospitals of a group equal sizes; 1 makes the largest about
            twice, 3 about four times the smallest.
        label_skew: 0 deals outcomes evenly; 1 sorts the patients of a group by outcome
            before dealing them to its hospitals; between, only this share of them.
    """

    data: Dataset
    groups: tuple[HospitalGroup, ...] = Field(min_length=1)
    by: Literal["patient", "hospital"] = "patient"
    size_skew: float = Field(default=0.0, ge=0)
    label_skew: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _check_names(self) -> "Simulation":
        groups = [group.name for group in self.groups]
        hospitals = [name for group in self.groups for name in group.names]
        if len(set(groups)) < len(groups) or len(set(hospitals)) < len(hospitals):
            raise ValueError(f"two hospitals share a name among {hospitals}; give each group its own")
        if self.by == "hospital" and self.label_skew:
            raise ValueError(
                f"label-skew {self.label_skew:g} sorts patients and by 'hospital' keeps whole hospitals "
                "together; set label-skew to 0, or by to 'patient'"
            )
        return self

    @property
    def num_hospitals(self) -> int:
        """How many sites there are in all."""
        return sum(group.hospitals for group in self.groups)
