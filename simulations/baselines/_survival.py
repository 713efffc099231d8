"""Outcomes and survival curves, between our bins of time and scikit-survival."""

import numpy as np
import torch
from jaxtyping import Float
from sksurv.util import Surv
from torch import Tensor

from lego_core.errors import PlanError
from lego_core.records import Cohort
from lego_core.tasks import Survival, Task
from simulations.baselines._choosing import outcomes_of


def times_and_events(cohort: Cohort) -> np.ndarray:
    """Outcomes as scikit-survival takes them."""
    times, events = outcomes_of(cohort).double().numpy().T
    return Surv.from_arrays(events == 1, times)


def left_at_events(outcomes: np.ndarray) -> np.ndarray:
    """Say of those who left between two events that they left at the earlier one.

    Who is at risk at an event stays the same, and so does all that is learned from it; but there
    are only as many times as events, over which each split of a survival tree is judged.
    """
    event, time = (outcomes[name] for name in outcomes.dtype.names or ())
    begins = np.concatenate([[0.0], np.unique(time[event])])
    return Surv.from_arrays(event, begins[np.searchsorted(begins, time, side="right") - 1])


def by_risk(risk: Float[np.ndarray, "B"]) -> Float[Tensor, "B Q"]:
    """A risk in the form in which a survival task ranks patients, to choose by."""
    return torch.from_numpy(-risk).unsqueeze(1)


def at_bin_ends(
    curves: Float[np.ndarray, "B N"], times_days: Float[np.ndarray, "N"], *, task: Task
) -> Float[np.ndarray, "B K"]:
    """Read survival curves, steps at N times, at the end of each of the task's K bins.

    A bin does not hold its upper edge, so the step at an edge belongs to the next bin; the
    last bin, which never ends, is read after the last step.

    Raises:
        PlanError: If the task has no bins, or no edges between them yet.
    """
    edges = task.bin_edges_days if isinstance(task, Survival) else None
    if edges is None:
        raise PlanError(
            f"Survival is read at the end of bins of time, and task '{task.kind}' has no edges between bins. "
            "Let the group agree on them first (task.agree), or set task.bin-edges-days."
        )
    steps_before = np.searchsorted(times_days, (*edges, np.inf), side="left")
    from_one = np.concatenate([np.ones((len(curves), 1)), curves], axis=1)
    return from_one[:, steps_before]
