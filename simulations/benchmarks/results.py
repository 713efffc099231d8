"""`results.json`: everything a benchmark found, as one document."""

from typing import Literal, final

from pydantic import Field

from lego_core.component import Component

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
        mean: Mean of the metric over the repeats; None if no trial worked.
        sd: Standard deviation over the repeats; None for fewer than two.
        ci95: Interval from resampling the patients.
        per_repeat: The metric of every repeat; None where no fold worked.
        seconds: Of one processor, per trial, from data to predictions; blocks included.
        parameters: Number of weights, mean over trials.
        gain_over_best_block: Difference to the best block.
        gain_over_ensemble: Difference to the ensemble.
        trials: In how many trials it worked.
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
    chosen: dict[str, int] = Field(default={})
    failed: tuple[str, ...] = ()


@final
class Results(Component):
    """A benchmark's results.

    Args:
        dataset: Its name.
        metric: Name of the metric.
        methods: By name, in the order of the tables.
        default_rule: The merge rule that the plan itself uses, `merge:NAME`.
        protocol: How they were made, in words.
        notes: What a reader should know.
        quick: Whether it was only a quick look.
        command: The command that made them.
        date: When.
        versions: Of Python and of the libraries that compute.
    """

    dataset: str
    metric: str
    methods: dict[str, MethodResult]
    default_rule: str | None
    protocol: str
    notes: tuple[str, ...]
    quick: bool
    command: str
    date: str
    versions: dict[str, str]
