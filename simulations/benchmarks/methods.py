"""The methods that are compared, by name."""

from collections.abc import Mapping, Sequence

from lego_core.errors import PlanError
from lego_core.records import Cohort
from lego_core.tasks import Task
from simulations.baselines import BASELINES
from simulations.benchmarks.rules import RULES

BEST_BLOCK = "best-block"
ENSEMBLE = "ensemble"
FUSE_ORDERS = ("stack", "weave")


def block_name(modality: str) -> str:
    """What a block is called: `block:MODALITY`."""
    return f"block:{modality}"


def baseline_name(kind: str) -> str:
    """What a baseline is called: `baseline:KIND`."""
    return f"baseline:{kind}"


def is_baseline(method: str) -> bool:
    """Whether a method shares nothing with the blocks."""
    return method.startswith(baseline_name(""))


def all_methods(modalities: Sequence[str]) -> list[str]:
    """Every method there is for these modalities, in the order of the tables."""
    return [
        *(block_name(modality) for modality in modalities),
        BEST_BLOCK,
        ENSEMBLE,
        *(f"merge:{name}" for name in RULES),
        *(f"fuse:{order}" for order in FUSE_ORDERS),
        *(baseline_name(kind) for kind in BASELINES),
    ]


def unfit_baselines(cohort: Cohort, *, task: Task) -> dict[str, str]:
    """The baselines that cannot be used for these patients or this task, each with the reason."""
    reasons = {baseline_name(kind): one.unfit_for(cohort, task=task) for kind, one in BASELINES.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def choose_methods(
    wanted: Sequence[str] | None, *, modalities: Sequence[str], unfit: Mapping[str, str]
) -> list[str]:
    """The methods of these names, or all that fit; in the order of the tables.

    Raises:
        PlanError: If a name is none of them, or one is unfit for these patients.
    """
    known = all_methods(modalities)
    if wanted is None:
        return [name for name in known if name not in unfit]
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise PlanError(f"There is no method {unknown or 'without a name'}. The methods are {known}.")
    for name in wanted:
        if name in unfit:
            raise PlanError(f"Method '{name}' is unfit here. {unfit[name]}")
    return [name for name in known if name in wanted]
