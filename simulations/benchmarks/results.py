"""`results.json`: everything a benchmark found, as one document."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal, final

from pydantic import Field

from lego_core.component import Component

LIBRARIES = ("torch", "numpy", "scikit-learn", "scikit-survival")
Verdict = Literal["above", "below", "no difference"]


@final
class Gain(Component):
    """Difference to another method, on trials and patients of whom both say something.

    Args:
        mean: Mean difference.
        ci95: Its interval, from the same resamples for both.
        verdict: `above` or `below` if the interval excludes zero.
    """

    mean: float
    ci95: tuple[float, float]
    verdict: Verdict


@final
class MethodResult(Component):
    """How one method did.

    Args:
        mean: Mean of the metric over the repeats; None if no trial worked, or none can be scored.
        sd: Standard deviation over the repeats; None for fewer than two.
        ci95: Interval from resampling the patients.
        per_repeat: The metric of every repeat; None where no fold worked.
        seconds: Of one processor, per trial, from data to predictions; blocks included.
        parameters: Number of weights, mean over trials.
        gain_over_best_block: Difference to the best block.
        gain_over_ensemble: Difference to the ensemble.
        trials: In how many trials it worked.
        patients: Of how many patients it said something in them, all trials together.
        chosen: How often each modality was the best block on validation.
        failed: The trials in which it failed, with the reason.
    """

    mean: float | None
    sd: float | None
    ci95: tuple[float, float] | None
    per_repeat: tuple[float | None, ...]
    seconds: float | None
    parameters: int | None
    gain_over_best_block: Gain | None = None
    gain_over_ensemble: Gain | None = None
    trials: int
    patients: int
    chosen: dict[str, int] = Field(default={})
    failed: tuple[str, ...] = ()


def _command() -> str:
    return shlex.join(["python", "-m", "simulations", *sys.argv[1:]])


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


class AbstractResults(Component):
    """What every `results.json` says of how it was made.

    Args:
        dataset: Whose patients answer.
        metric: Name of the task's metric.
        protocol: How the patients were split, and who saw whom, in words.
        notes: What a reader should know, and what failed.
        quick: Whether it was only a quick look.
        command: The command that made them; the one that runs now if not given.
        date: When.
        versions: Of Python and of the libraries that compute.
    """

    dataset: str
    metric: str
    protocol: str
    notes: tuple[str, ...]
    quick: bool
    command: str = Field(default_factory=_command)
    date: str = Field(default_factory=_today)
    versions: dict[str, str] = Field(default_factory=_versions)


@final
class Results(AbstractResults):
    """A benchmark's results; further settings as in `AbstractResults`.

    Args:
        methods: By name, in the order of the tables.
        default_rule: The merge rule that the plan itself uses, `merge:NAME`.
    """

    methods: dict[str, MethodResult]
    default_rule: str | None
