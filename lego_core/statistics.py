"""What a group must agree on before training, as sums that add up over sites.

Only training patients are counted, and only totals are kept: the statistics of two sites
together are the sum of their statistics, so a secure sum can add them up unseen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import zip_longest

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from lego_core._time_grid import counts_between, quantiles_of_counts
from lego_core.errors import DataError, PlanError, ProtocolError, ShapeError
from lego_core.records import Cohort, Inputs

FARTHEST = 10.0  # spreads from the mean; gene counts and typing errors lie thousands away
SMALLEST_RELATIVE_VARIANCE = 1e-13  # variance by mean square; below it float32 values are all but equal


@dataclass(frozen=True, slots=True, eq=False)
class Normalisation:
    """How a feature is brought to mean 0 and spread 1.

    Args:
        mean: Mean of every feature; 0 where nobody measured it.
        stddev: Standard deviation (divided by n, not by n - 1); 1 for features that are
            constant or that nobody measured.
    """

    mean: Float32[Tensor, "F"]
    stddev: Float32[Tensor, "F"]

    def normalise(self, inputs: Inputs) -> Inputs:
        """Bring measured values to mean 0 and spread 1; what was not measured stays 0.

        A value more than ten spreads from the mean is taken for one that is ten away.
        """
        values = (inputs.values - self.mean.to(inputs.values)) / self.stddev.to(inputs.values)
        return replace(inputs, values=torch.where(inputs.measured, values.clamp(-FARTHEST, FARTHEST), 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class FeatureStatistics:
    """Count, sum and sum of squares of every feature of one modality.

    Records hold float32, and float64 holds the square of a float32 exactly, so plain sums
    keep every spread that the records can show: 1e6 with a spread of 1 comes out right.

    Args:
        features: Names of the F features, in order. They are public and travel by themselves.
        count: How many values were measured.
        total: Their sum.
        total_squares: The sum of their squares.

    Guarantees:
        Adding the statistics of sites gives the statistics of their patients together.
        Validation and test patients, padding and missing values take no part.
    """

    features: tuple[str, ...]
    count: Float64[Tensor, "F"]
    total: Float64[Tensor, "F"]
    total_squares: Float64[Tensor, "F"]

    @classmethod
    def of(cls, cohort: Cohort, modality: str) -> "FeatureStatistics":
        """Count the training patients of a cohort.

        Raises:
            DataError: If there is no such modality, if patients were not yet given a part of
                the split, or if a measured value is infinite.
        """
        if modality not in cohort.schemas:
            known = ", ".join(f"'{name}'" for name in cohort.modalities)
            raise DataError(f"There is no modality '{modality}' in this cohort. It has: {known}.")
        features = cohort.schemas[modality].features
        sums = torch.zeros(3, len(features), dtype=torch.float64)
        for record in training_part(cohort).holding(modality).records:
            values = record.modalities[modality].values.double()
            sums += torch.stack([(~values.isnan()).sum(0), values.nansum(0), values.square().nansum(0)])
        infinite = ~sums.isfinite().all(0)
        if infinite.any():
            raise DataError(
                f"Modality '{modality}', feature '{features[int(infinite.nonzero()[0])]}' holds infinite "
                "values, and a mean needs finite ones. Leave empty what was not measured."
            )
        return cls(features, *sums)

    @classmethod
    def of_nobody(cls, features: tuple[str, ...]) -> "FeatureStatistics":
        """Sums over no patients: zeros."""
        return cls(features, *torch.zeros(3, len(features), dtype=torch.float64))

    def __add__(self, other: "FeatureStatistics") -> "FeatureStatistics":
        if self.features != other.features:
            pairs = enumerate(zip_longest(self.features, other.features, fillvalue="(none)"), start=1)
            place, (first, second) = next((place, pair) for place, pair in pairs if pair[0] != pair[1])
            raise ShapeError(
                f"Statistics of {len(self.features)} and of {len(other.features)} features cannot be added: "
                f"feature {place} is '{first}' in the one and '{second}' in the other. Give all sites the "
                "run's feature list, in its order."
            )
        squares = self.total_squares + other.total_squares
        return FeatureStatistics(self.features, self.count + other.count, self.total + other.total, squares)

    def normalisation(self) -> Normalisation:
        """Mean and spread of every feature over the whole group."""
        count = self.count.clamp(min=1)
        mean, mean_square = self.total / count, self.total_squares / count
        variance = mean_square - mean.square()
        varies = variance > SMALLEST_RELATIVE_VARIANCE * mean_square
        stddev = torch.where(varies, variance.clamp(min=0).sqrt(), 1.0)
        return Normalisation(mean.float(), stddev.float())

    def to_tensors(self) -> dict[str, Tensor]:
        """The sums as they travel; the feature names travel by themselves."""
        return {"count": self.count, "total": self.total, "total_squares": self.total_squares}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], *, features: tuple[str, ...]) -> "FeatureStatistics":
        """Read what `to_tensors` wrote.

        Raises:
            ProtocolError: If a sum is absent, unknown, of the wrong length or not finite.
        """
        shapes = {name: (len(features),) for name in ("count", "total", "total_squares")}
        return cls(features, **read_sums(tensors, shapes=shapes))


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeStatistics:
    """How often each outcome was seen, and for survival when.

    A task makes it (`task.summarise`), sites add it up, `task.agree` reads it.

    Args:
        num_patients: Number of patients counted.
        counts: Patients per category: (censored, event) for survival, patients per class,
            or patients with each label.
        event_times: Histogram of event times, 0 to 1 day and then to 100 years in 999 steps of
            1.06 %; empty for a task that knows no times.
        censored_times: Likewise, of the times at which the other patients left.

    Guarantees:
        Adding the statistics of sites gives the statistics of their patients together.
    """

    num_patients: Float64[Tensor, ""]
    counts: Float64[Tensor, "Q"]
    event_times: Float64[Tensor, "G"]
    censored_times: Float64[Tensor, "G"]

    def __add__(self, other: "OutcomeStatistics") -> "OutcomeStatistics":
        own, others = (len(self.counts), len(self.event_times)), (len(other.counts), len(other.event_times))
        if own != others:
            raise ShapeError(
                f"Outcome statistics of {own[0]} categories and {own[1]} time bins cannot be added to those "
                f"of {others[0]} categories and {others[1]} time bins. Let all sites use the same task."
            )
        return OutcomeStatistics(
            self.num_patients + other.num_patients,
            self.counts + other.counts,
            self.event_times + other.event_times,
            self.censored_times + other.censored_times,
        )

    def event_time_quantiles(self, num_groups: int) -> tuple[float, ...]:
        """Days that cut the events into groups of equal number, right within one bin of the grid.

        Returns:
            `num_groups - 1` rising days.

        Raises:
            PlanError: If there are fewer events than groups.
        """
        events = round(self.event_times.sum().item())
        if events < num_groups:
            raise PlanError(
                f"The group saw {events} events, and {num_groups} time bins need at least {num_groups}. "
                "Set task.num-bins lower, or add sites."
            )
        return quantiles_of_counts(self.event_times, num_groups)

    def hazards(self, edges_days: Sequence[float]) -> Float64[Tensor, "K"]:
        """Share of the patients who come into each time bin that have their event in it.

        Half an event and half a patient without one are added to each bin, so that no share
        is 0 or 1. Right within one bin of the grid.

        Args:
            edges_days: The K - 1 rising edges between bins.
        """
        events = counts_between(self.event_times, edges_days)
        left = events + counts_between(self.censored_times, edges_days)
        at_risk = left.flip(0).cumsum(0).flip(0)
        return (events + 0.5) / (at_risk + 1)

    def to_tensors(self) -> dict[str, Tensor]:
        """The counts as they travel."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], *, like: "OutcomeStatistics") -> "OutcomeStatistics":
        """Read what `to_tensors` wrote; `like` (of no patients, say) tells the lengths to expect.

        Raises:
            ProtocolError: If counts are absent, unknown, of the wrong length or not finite.
        """
        shapes = {name: tuple(tensor.shape) for name, tensor in like.to_tensors().items()}
        return cls(**read_sums(tensors, shapes=shapes))


def training_outcomes(cohort: Cohort, *, num_columns: int) -> Float32[Tensor, "N O"]:
    """Outcomes of the training patients, of whom there may be none.

    Raises:
        DataError: If patients were not yet given a part of the split.
    """
    rows = [record.outcome.values for record in training_part(cohort).records]
    return torch.tensor(rows, dtype=torch.float32) if rows else torch.zeros(0, num_columns)


def training_part(cohort: Cohort) -> Cohort:
    """The patients who may be counted.

    Raises:
        DataError: If patients were not yet given a part of the split.
    """
    undecided = sum(record.part is None for record in cohort.records)
    if undecided:
        raise DataError(
            f"{undecided} of {len(cohort)} patients were not yet given a part of the split, so nobody can "
            "say whether they are test patients. Split the cohort before it is counted."
        )
    return cohort.part("train")


def read_sums(tensors: Mapping[str, Tensor], *, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read sums that travelled, in float64.

    Raises:
        ProtocolError: If a sum is absent, unknown, of the wrong size or not finite.
    """
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != dict(shapes):
        raise ProtocolError(
            f"Statistics arrived with the sizes {found}, and this run expects {dict(shapes)}. "
            "Let all sites run the same plan and the same version."
        )
    odd = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if odd is not None:
        raise ProtocolError(
            f"Statistics '{odd}' arrived with values that are not finite. Ask the site to look."
        )
    return {name: tensor.double() for name, tensor in tensors.items()}
