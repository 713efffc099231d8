"""Predictions as a table: one row per patient, whatever came of it."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.tasks import Classification, MultiLabel, Survival, Task

PREDICTED = "predicted"


def prediction_columns(task: Task) -> list[str]:
    """The names of the columns of a prediction, in order."""
    match task:
        case Classification():
            return [f"probability_{name}" for name in task.classes]
        case MultiLabel():
            return [f"probability_{name}" for name in task.labels]
        case Survival():
            return ["risk", *(f"survival_{day}d" for day in _days(task)), "median_survival_days"]


def as_columns(predictions: Float[Tensor, "B Q"], *, task: Task) -> dict[str, np.ndarray]:
    """The columns of these patients' predictions."""
    values = predictions.numpy()
    if isinstance(task, Survival):
        risk = -values.astype(np.float64).sum(axis=1)
        median = _median_days(values, task.bin_edges_days or ())
        return dict(zip(prediction_columns(task), [risk, *values[:, :-1].T, median], strict=True))
    return dict(zip(prediction_columns(task), values.T, strict=True))


def rows_of(
    ids: Sequence[str],
    *,
    status: Sequence[str],
    modalities: Sequence[str],
    model: str,
    bundle_sha256: str,
    task: Task,
    predictions: Float[Tensor, "P Q"],
) -> pd.DataFrame:
    """One row per patient; the predictions are those of the patients whose status says `predicted`."""
    done = torch.tensor([one == PREDICTED for one in status], dtype=torch.bool)
    every = torch.full((len(ids), predictions.shape[1]), math.nan)
    every[done] = predictions
    columns = as_columns(every, task=task)
    about = {
        "patient_id": list(ids),
        "status": list(status),
        "modalities": list(modalities),
        "model": model,
        "bundle_sha256": bundle_sha256,
    }
    return pd.DataFrame({**about, **columns}).astype(dict.fromkeys(about, "str"))


def _days(task: Survival) -> list[str]:
    edges = task.bin_edges_days or ()
    short = [f"{edge:.10g}" for edge in edges]
    return short if len(set(short)) == len(short) else [repr(edge) for edge in edges]


def _median_days(survival: np.ndarray, edges_days: Sequence[float]) -> np.ndarray:
    """When half have had the event: on a straight line between the ends of two bins; NaN if never."""
    days = np.array([0.0, *edges_days])
    curves = np.concatenate([np.ones((len(survival), 1)), survival[:, :-1]], axis=1)
    medians = np.full(len(survival), np.nan)
    for row, curve in enumerate(curves):
        reached = np.flatnonzero(curve <= 0.5)
        if len(reached):
            after = reached[0]
            share = (curve[after - 1] - 0.5) / (curve[after - 1] - curve[after])
            medians[row] = days[after - 1] + share * (days[after] - days[after - 1])
    return medians
