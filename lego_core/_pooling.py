"""The reports of all sites, pooled: means weighted by comparable pairs, with paired intervals."""

from collections.abc import Mapping, Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.component import Component
from lego_core.protocol import Method, ScoreRow, SiteReport

Sites = tuple[str, ...]  # that a report speaks for: one, or several whose own scores nobody sees
SiteRows = Sequence[tuple[Sites, ScoreRow]]  # the rows of one model, each with its sites
Table = dict[tuple[str, str, tuple[str, ...]], SiteRows]  # by patients, method and modalities


@final
class Gain(Component):
    """What one model gains over another on the same patients.

    Args:
        value: Difference of the metric.
        low: Lower end of its paired 95 % bootstrap interval.
        high: Upper end.
        patients: How many patients stand behind it.
    """

    value: float
    low: float
    high: float
    patients: int


@final
class PooledScore(Component):
    """One model on one subset of modalities, over all sites that could score it.

    Args:
        value: Mean of the sites' metrics, weighted by comparable pairs.
        low: Lower end of the 95 % bootstrap interval.
        high: Upper end.
        count: Patients.
        pairs: Comparable pairs, within sites.
        sites: Names of the sites behind it.
        gain: Difference to the best block on the same patients; only for complete patients.
        gain_low: Lower end of its paired interval.
        gain_high: Upper end.
    """

    method: Method
    modalities: tuple[str, ...]
    patients: Literal["complete", "holding"]
    value: float
    low: float
    high: float
    count: int
    pairs: float
    sites: tuple[str, ...]
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None

    @property
    def paired_gain(self) -> Gain | None:
        """The gain over the best block, if both were scored on the same patients."""
        if self.gain is None or self.gain_low is None or self.gain_high is None:
            return None
        return Gain(value=self.gain, low=self.gain_low, high=self.gain_high, patients=self.count)


@final
class PairMerge(Component):
    """What merging two blocks did, on complete test patients.

    Args:
        first: One modality.
        second: The other.
        better: Which of the two blocks did better alone.
        gain: What their merge gains over that block.
    """

    first: str
    second: str
    better: str
    gain: Gain


@final
class EvaluationReport(Component):
    """What the sites' reports come to.

    Args:
        metric: Name of the metric.
        best_block: The modality whose block did best on the sites' validation patients.
        scores: All pooled scores, on test patients.
        withheld: Rows that sites withheld because too few patients stood behind them.
        pair_merges: What merging every two blocks did on test patients.
        validation: Pooled scores on complete validation patients: of each block and of all
            that sees every modality. What is recommended is chosen on these.
        validation_withheld: Rows of these that sites withheld.
    """

    metric: str
    best_block: str
    scores: tuple[PooledScore, ...]
    withheld: int
    pair_merges: tuple[PairMerge, ...] = ()
    validation: tuple[PooledScore, ...] = ()
    validation_withheld: int = 0

    def headline(self, patients: Literal["complete", "holding"] = "complete") -> list[PooledScore]:
        """The rows of the result table: each block, then everything that sees all modalities."""
        every = max((score.modalities for score in self.scores), key=len, default=())
        rows = [score for score in self.scores if score.patients == patients]
        blocks = [score for score in rows if score.method == "block"]
        return blocks + [s for s in rows if s.modalities == every and s.method != "block"]


def pool(reports: Mapping[Sites, SiteReport], *, metric: str, best_block: str) -> EvaluationReport:
    """Pool the reports of the sites; there are no scores if every site held its own back.

    Args:
        reports: One report per site, or per several sites together, by their names.
        metric: Name of the metric.
        best_block: The modality whose block did best on validation patients; gains are
            differences to it, on the same patients.
    """
    test = _table({sites: report.scores for sites, report in reports.items()})
    validation = _table({sites: report.validation for sites, report in reports.items()})
    return EvaluationReport(
        metric=metric,
        best_block=best_block,
        scores=_pool_table(test, best_block),
        withheld=sum(report.withheld for report in reports.values()),
        pair_merges=_pair_merges(test),
        validation=_pool_table(validation, best_block),
        validation_withheld=sum(report.validation_withheld for report in reports.values()),
    )


def _table(rows: Mapping[Sites, Sequence[ScoreRow]]) -> Table:
    """The rows of every model, each with its sites, in the order in which they are reported."""
    found: dict[tuple[str, str, tuple[str, ...]], list[tuple[Sites, ScoreRow]]] = {}
    for sites in sorted(rows):
        for row in rows[sites]:
            found.setdefault((row.patients, row.method, row.modalities), []).append((sites, row))
    return {key: found[key] for key in sorted(found, key=lambda key: (key[0], len(key[2]), key[2], key[1]))}


def _pool_table(table: Table, best_block: str) -> tuple[PooledScore, ...]:
    return tuple(
        _pool_rows(rows, against=table.get((patients, "block", (best_block,)), ()))
        for (patients, _, _), rows in table.items()
    )


def _pool_rows(rows: SiteRows, *, against: SiteRows) -> PooledScore:
    first = rows[0][1]
    low, high = _interval(_resampled(rows))
    # only complete patients are the same for every subset of modalities
    gain = _gain(rows, over=against) if first.patients == "complete" else None
    return PooledScore(
        method=first.method, modalities=first.modalities, patients=first.patients,
        value=_value(rows), low=low, high=high, count=sum(row.count for _, row in rows),
        pairs=sum(row.pairs for _, row in rows), sites=tuple(site for sites, _ in rows for site in sites),
        gain=gain and gain.value, gain_low=gain and gain.low, gain_high=gain and gain.high,
    )  # fmt: skip


def _pair_merges(table: Table) -> tuple[PairMerge, ...]:
    """Every merge of two blocks against the better of the two, where patients could be compared."""
    judged = []
    for (patients, method, pair), merged in table.items():
        if (patients, method, len(pair)) != ("complete", "merge", 2) or not any(r.pairs for _, r in merged):
            continue
        alone = {name: table.get(("complete", "block", (name,)), ()) for name in pair}
        if not all(alone.values()):
            continue
        better = max(pair, key=lambda name: _value(alone[name]))
        gain = _gain(merged, over=alone[better])
        if gain:
            judged.append(PairMerge(first=pair[0], second=pair[1], better=better, gain=gain))
    return tuple(judged)


def _gain(rows: SiteRows, *, over: SiteRows) -> Gain | None:
    """The paired difference, if the same sites scored both."""
    if [sites for sites, _ in rows] != [sites for sites, _ in over]:
        return None
    low, high = _interval(_resampled(rows) - _resampled(over))
    value, patients = _value(rows) - _value(over), sum(row.count for _, row in rows)
    return Gain(value=value, low=low, high=high, patients=patients)


def _value(rows: SiteRows) -> float:
    return float(_weighted(torch.tensor([[row.value, row.pairs] for _, row in rows])))


def _resampled(rows: SiteRows) -> Tensor:
    return _weighted(torch.tensor([row.resampled for _, row in rows]))


def _weighted(pairs: Float[Tensor, "S *R 2"]) -> Float[Tensor, "*R"]:
    """Mean over sites of the first column, weighted by the second; 0.5 where no weight is."""
    values, weights = pairs[..., 0].double(), pairs[..., 1].double()
    total = weights.sum(dim=0)
    return torch.where(total > 0, (values * weights).sum(dim=0) / total.clamp_min(1e-12), 0.5)


def _interval(resampled: Tensor) -> tuple[float, float]:
    low, high = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=resampled.dtype)).tolist()
    return low, high
