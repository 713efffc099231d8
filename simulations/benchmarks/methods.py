"""The methods that are compared, by name."""

from collections.abc import Sequence
from typing import Any

from lego_core.errors import PlanError
from simulations.benchmarks.rules import RULES

BEST_BLOCK = "best-block"
ENSEMBLE = "ensemble"
BASELINES: dict[str, Any] = {}
FUSE_ORDERS = ("stack", "weave")


def block_name(modality: str) -> str:
    """What a block is called: `block:MODALITY`."""
    return f"block:{modality}"


def all_methods(modalities: Sequence[str]) -> list[str]:
    """Every method there is for these modalities, in the order of the tables."""
    return [
        *(block_name(modality) for modality in modalities),
        BEST_BLOCK,
        ENSEMBLE,
        *(f"merge:{name}" for name in RULES),
        *(f"fuse:{order}" for order in FUSE_ORDERS),
        *(f"baseline:{name}" for name in BASELINES),
    ]


def choose_methods(wanted: Sequence[str] | None, *, modalities: Sequence[str]) -> list[str]:
    """The methods of these names, or all; in the order of the tables.

    Raises:
        PlanError: If a name is none of them.
    """
    known = all_methods(modalities)
    if wanted is None:
        return known
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise PlanError(f"There is no method {unknown or 'without a name'}. The methods are {known}.")
    return [name for name in known if name in wanted]


def is_baseline(method: str) -> bool:
    """Whether a method shares nothing with the blocks."""
    return method.startswith("baseline:")
