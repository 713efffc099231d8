"""Choose among settings by the task's score on validation patients."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lego_core.records import Cohort, collate
from lego_core.tasks import Task


def outcomes_of(cohort: Cohort) -> Float[Tensor, "B O"]:
    """Outcomes of all patients, in order."""
    return collate(cohort.records, {}).outcomes


def best_on(
    validation: Cohort, predictions: Sequence[Float[Tensor, "B Q"]], *, task: Task, neighbours: int = 0
) -> int:
    """Which of several predictions for the validation patients scores best.

    Give that of the simplest model first: it wins where scores are equal, and where no two
    validation patients can be compared.

    Args:
        validation: The patients predicted for.
        predictions: One per model.
        task: What scores.
        neighbours: How many models on either side a score is averaged with, where models form
            a path. On few events it is noise that decides between neighbours.
    """
    outcomes = outcomes_of(validation)
    scores = np.array([task.score(prediction, outcomes).value for prediction in predictions])
    window = np.ones(2 * neighbours + 1) / (2 * neighbours + 1)
    smooth = np.convolve(np.pad(scores, neighbours, mode="edge"), window, mode="valid")
    return int(np.argmax(smooth.round(9)))
