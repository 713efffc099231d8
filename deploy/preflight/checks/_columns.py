"""The values of a modality's features, over all patients and rows."""

import torch
from torch import Tensor

from lego_core.records import Cohort


def columns_of(cohort: Cohort, modality: str) -> dict[str, Tensor]:
    """Every feature with all its values, NaN where nothing was measured."""
    features = cohort.schemas[modality].features
    held = [one.modalities[modality].values for one in cohort.holding(modality).records]
    rows = torch.cat(held) if held else torch.zeros(0, len(features))
    return dict(zip(features, rows.T, strict=True))


def patients_of_rows(cohort: Cohort, modality: str) -> list[str]:
    """Whose each of these values is, in the same order."""
    return [
        one.patient_id
        for one in cohort.holding(modality).records
        for _ in range(len(one.modalities[modality].values))
    ]
