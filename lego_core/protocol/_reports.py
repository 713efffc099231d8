"""What a site says at the end, or when it does not answer."""

from typing import ClassVar, Literal, final

from pydantic import Field

from lego_core.component import Component
from lego_core.letters import AbstractMessage

Method = Literal["block", "ensemble", "merge", "fuse"]


@final
class ScoreRow(Component):
    """One score of one model on one set of patients kept apart.

    Args:
        method: `block`, `ensemble`, `merge` or `fuse`.
        modalities: What the model was allowed to see.
        patients: `complete`: those who have all modalities of the run; `holding`: those
            who have at least these.
        count: Number of patients; never fewer than the smallest count of plan and site.
        value: The metric.
        pairs: Comparable pairs behind it.
        resampled: Metric and pairs of every bootstrap resample; the same resamples for
            every method, so that differences can be taken.
    """

    method: Method
    modalities: tuple[str, ...]
    patients: Literal["complete", "holding"]
    count: int = Field(ge=1)
    value: float
    pairs: float = Field(ge=0)
    resampled: tuple[tuple[float, float], ...] = ()


@final
class ChartRow(Component):
    """What a chart needs about one model: rates and curves of groups of at least ten patients."""

    method: Method
    modalities: tuple[str, ...]
    patients: Literal["complete", "holding"]
    count: int = Field(ge=1)
    details: dict[str, object]


@final
class SiteReport(AbstractMessage):
    """How the models did at one site.

    Reveals to the server: scores with numbers of patients and comparable pairs, both again for
    every resample, and chart points of groups of at least ten patients. Scores of fewer
    patients than the smallest count of plan and site are withheld, and so are those whose number
    of patients would tell of fewer by subtraction. Comparable pairs tell how many patients had
    the event, or each class, however few. Resamples follow from the plan's
    seed: of some twenty patients or fewer, they tell which pairs were ranked rightly.

    Args:
        scores: One row per model, subset of modalities and set of test patients.
        charts: Chart points of the main models.
        withheld: How many rows were withheld because too few patients stood behind them, or would
            follow from them.
        validation: On complete validation patients, one row per block and per model that
            sees every modality of the run.
        validation_withheld: How many of these were withheld.
    """

    kind: ClassVar[str] = "site-report"
    scores: tuple[ScoreRow, ...]
    charts: tuple[ChartRow, ...] = ()
    withheld: int = Field(default=0, ge=0)
    validation: tuple[ScoreRow, ...] = ()
    validation_withheld: int = Field(default=0, ge=0)


@final
class Refusal(AbstractMessage):
    """A site declines, or failed. Reveals the public text of the error and nothing else.

    Args:
        declined: True if the site chose not to take part; False if something broke.
        budget_spent: True if the site's privacy budget allows no such training any more.
        public: What went wrong, where, and what to do.
    """

    kind: ClassVar[str] = "refusal"
    declined: bool
    public: str
    budget_spent: bool = False
