"""All modalities of a patient as one row of numbers, for models that read nothing else."""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.errors import DataError
from lego_core.records import Cohort, Measurement, ModalitySchema
from lego_core.statistics import FARTHEST, SMALLEST_RELATIVE_VARIANCE
from simulations.baselines._contract import as_in_training

SERIES_SUMMARIES = ("first", "last", "mean", "lowest", "highest", "number")
EVERYTHING = "everything"


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """One row per patient: how it is made of the modalities, and how it is scaled.

    A table gives its columns as they are, a series six summaries of each feature (first, last,
    mean, lowest, highest, how often measured), a bag the mean of each feature over its
    instances, an image its pixels. Columns that are the same for all training patients are
    left out. Scaling is by training patients, to mean 0 and spread 1; a value more than ten
    spreads away is taken for one that is ten away, as in our blocks.

    Args:
        names: Names of the F columns: modality, feature, and what of it.
        schemas: What the modalities looked like in training.
        kept: Which columns of all are kept.
        mean: Mean of each column over the training patients who have it.
        stddev: Its spread.
    """

    names: tuple[str, ...]
    schemas: dict[str, ModalitySchema]
    kept: np.ndarray
    mean: Float[np.ndarray, "F"]
    stddev: Float[np.ndarray, "F"]

    @classmethod
    def of(cls, train: Cohort) -> Self:
        """Take names and scales from the training patients.

        Raises:
            DataError: If no column differs between patients.
        """
        schemas = dict(train.schemas)
        rows = _rows(train)
        names = [name for modality, schema in schemas.items() for name in _names(modality, schema)]
        measured = ~np.isnan(rows)
        count = measured.sum(axis=0).clip(min=1)
        mean = np.where(measured, rows, 0).sum(axis=0) / count
        variance = np.where(measured, np.square(rows - mean), 0).sum(axis=0) / count
        kept = variance > SMALLEST_RELATIVE_VARIANCE * (variance + np.square(mean))
        if not kept.any():
            raise DataError(
                f"All {len(names)} columns are the same for all {len(train)} training patients, so nothing "
                "can be learned from them. Give a modality that differs between patients."
            )
        chosen = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
        return cls(chosen, schemas, kept, mean[kept], np.sqrt(variance[kept]))

    def matrix(self, cohort: Cohort) -> Float[np.ndarray, "B F"]:
        """Scaled rows, patients in order; NaN where nothing was measured.

        Raises:
            DataError: If a patient has none of the modalities, or a feature is missing.
        """
        rows = _rows(as_in_training(cohort, self.schemas))[:, self.kept]
        return ((rows - self.mean) / self.stddev).clip(-FARTHEST, FARTHEST)

    def filled(self, cohort: Cohort) -> Float[np.ndarray, "B F"]:
        """The matrix with the training mean where nothing was measured."""
        return np.nan_to_num(self.matrix(cohort), nan=0.0)

    def as_cohort(self, cohort: Cohort) -> Cohort:
        """The same patients with the matrix as their only modality, a table named `everything`."""
        schemas = {EVERYTHING: ModalitySchema(layout="table", features=self.names)}
        rows = torch.from_numpy(self.matrix(cohort)).float()
        records = (
            replace(record, modalities={EVERYTHING: Measurement(row.unsqueeze(0))})
            for record, row in zip(cohort.records, rows, strict=True)
        )
        return Cohort(tuple(records), schemas)


def _names(modality: str, schema: ModalitySchema) -> list[str]:
    match schema.layout:
        case "table":
            ends = [""]
        case "bag":
            ends = [" mean"]
        case "series":
            ends = [f" {summary}" for summary in SERIES_SUMMARIES]
        case "image":
            ends = [f" pixel {place}" for place in range(math.prod(schema.grid or (0,)))]
    return [f"{modality}: {feature}{end}" for end in ends for feature in schema.features]


def _rows(cohort: Cohort) -> Float[np.ndarray, "B F"]:
    widths = {name: len(_names(name, schema)) for name, schema in cohort.schemas.items()}
    rows = torch.full((len(cohort), sum(widths.values())), torch.nan, dtype=torch.float64)
    for row, record in zip(rows, cohort.records, strict=True):
        for (name, schema), part in zip(
            cohort.schemas.items(), row.split(list(widths.values())), strict=True
        ):
            if name in record.modalities:
                part.copy_(_one_row(record.modalities[name].values.double(), schema, width=len(part)))
    return rows.numpy()


def _one_row(values: Float[Tensor, "T F"], schema: ModalitySchema, *, width: int) -> Float[Tensor, "W"]:
    match schema.layout:
        case "bag":
            row = values.nanmean(dim=0)
        case "series":
            row = _summaries(values)
        case "table" | "image":
            row = values.flatten()
    if len(row) != width:
        raise DataError(
            f"A patient's {schema.layout} gives {len(row)} columns, and that of the others {width}. Give all "
            "patients one row per table, and images of one size."
        )
    return row


def _summaries(values: Float[Tensor, "T F"]) -> Float[Tensor, "W"]:
    """In the order of `SERIES_SUMMARIES`; NaN for what was never measured, but for the number."""
    measured = ~values.isnan()
    number = measured.sum(dim=0)
    rank = measured.cumsum(dim=0)
    never = number == 0

    def at(place: Tensor) -> Tensor:
        chosen = (measured & (rank == place)).int().argmax(dim=0)
        return values.gather(0, chosen.unsqueeze(0)).squeeze(0)

    lowest = values.nan_to_num(nan=torch.inf).amin(dim=0).masked_fill(never, torch.nan)
    highest = values.nan_to_num(nan=-torch.inf).amax(dim=0).masked_fill(never, torch.nan)
    first, last = at(torch.ones_like(number)), at(number)
    return torch.cat([first, last, values.nanmean(dim=0), lowest, highest, number.double()])
