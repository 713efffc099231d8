"""Event times as a histogram that sites can add up: from times to counts to quantiles."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

DAYS_IN_100_YEARS = 36525.0
NUM_TIME_BINS = 1000


def time_grid_days() -> Float64[Tensor, "edges"]:
    """Edges of the bins: 0, then 1 day to 100 years in steps of 1.06 %."""
    steps = torch.arange(NUM_TIME_BINS, dtype=torch.float64) / (NUM_TIME_BINS - 1)
    return torch.cat([torch.zeros(1, dtype=torch.float64), DAYS_IN_100_YEARS**steps])


def count_times(times_days: Float[Tensor, "N"]) -> Float64[Tensor, "G"]:
    """Count times per bin; a bin holds its lower edge, and the last one all that comes later."""
    inner = time_grid_days()[1:-1]
    return torch.bucketize(times_days.double(), inner, right=True).bincount(minlength=NUM_TIME_BINS).double()


def counts_between(counts: Float64[Tensor, "G"], edges_days: Sequence[float]) -> Float64[Tensor, "K"]:
    """Add up the counted times between edges; the first part begins at 0, the last never ends.

    Args:
        counts: Times per bin of the grid, taken as spread evenly within a bin.
        edges_days: K - 1 rising days.
    """
    counts = counts.round().clamp(min=0)
    grid = time_grid_days()
    edges = torch.tensor(edges_days, dtype=torch.float64).clamp(max=DAYS_IN_100_YEARS)
    place = torch.searchsorted(grid, edges, right=True).clamp(max=NUM_TIME_BINS) - 1
    share = (edges - grid[place]) / (grid[place + 1] - grid[place])
    below = torch.cat([torch.zeros(1, dtype=torch.float64), counts.cumsum(0)])
    reached = below[place] + share * counts[place]
    return torch.cat([reached, counts.sum(0, keepdim=True)]).diff(prepend=torch.zeros(1, dtype=torch.float64))


def quantiles_of_counts(counts: Float64[Tensor, "G"], num_groups: int) -> tuple[float, ...]:
    """Days that cut the counted times into groups of equal number, interpolated within a bin.

    Counts are rounded to whole numbers first, since a secure sum returns them nearly so.

    Returns:
        `num_groups - 1` rising days, each within one bin of the true quantile.
    """
    counts = counts.round().clamp(min=0)
    reached = counts.cumsum(0)
    wanted = reached[-1] * torch.arange(1, num_groups, dtype=torch.float64) / num_groups
    place = torch.searchsorted(reached, wanted)
    share = 1 - (reached[place] - wanted) / counts[place]
    grid = time_grid_days()
    return tuple((grid[place] + share * (grid[place + 1] - grid[place])).tolist())
