"""What every task asks of its outcomes and predictions, and the sentences if they do not fit."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lego_core.errors import DataError, ShapeError
from lego_core.statistics import OutcomeStatistics


def check_columns(outcomes: Float[Tensor, "B O"], *, columns: tuple[str, ...], task: str) -> None:
    """Make sure that outcomes have one column per name.

    Raises:
        DataError: If they have more or fewer.
    """
    if outcomes.shape[1] != len(columns):
        names = ", ".join(f"'{name}'" for name in columns)
        raise DataError(
            f"Outcomes have {outcomes.shape[1]} columns, and task '{task}' reads {len(columns)}: {names}. "
            "Check which task the plan names, and which columns the outcome is read from."
        )


def check_rows(fits: Tensor, *, task: str, expected: str) -> None:
    """Make sure that every patient's outcome fits.

    Args:
        fits: True per patient whose outcome can be (B,).
        task: Kind of the task.
        expected: What an outcome must be, as the end of a sentence.

    Raises:
        DataError: If some patient's does not.
    """
    if not bool(fits.all()):
        odd = (~fits).nonzero().flatten().tolist()
        raise DataError(
            f"Task '{task}': the outcomes of {len(odd)} of {len(fits)} patients do not fit; {expected}. "
            "Correct them, or leave these patients out.",
            local=f"first rows that do not fit, from 0: {odd[:5]}",
        )


def check_statistics(statistics: OutcomeStatistics, *, like: OutcomeStatistics, task: str) -> None:
    """Make sure that statistics were counted for this task.

    Raises:
        ShapeError: If they were not.
    """
    found = (len(statistics.counts), len(statistics.event_times))
    expected = (len(like.counts), len(like.event_times))
    if found != expected:
        raise ShapeError(
            f"Outcome statistics count {found[0]} categories and {found[1]} time bins, and task '{task}' "
            f"has {expected[0]} and {expected[1]}. Count them with the task that is to agree on them."
        )


def to_numpy(tensor: Float[Tensor, "B N"]) -> Float[np.ndarray, "B N"]:
    """Float64 on the CPU, free of gradients.

    Raises:
        DataError: If a value is not finite.
    """
    array = tensor.detach().cpu().double().numpy()
    if not np.isfinite(array).all():
        odd = (~np.isfinite(array).all(axis=1)).sum()
        raise DataError(
            f"Predictions or outcomes of {odd} of {len(array)} patients are not finite numbers, so nothing "
            "can be ranked. Look for training that diverged."
        )
    return array
