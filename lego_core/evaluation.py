"""How good the models are: every site scores its own patients, the server pools the scores.

A rank metric cannot be averaged into the one of all patients together, because no site sees
pairs across sites. So a site gives the metric and its comparable pairs, and what is pooled
here is the mean over sites, weighted by pairs. Intervals come from resampling the patients
inside each site, with the same resamples for every method, so that differences have one too.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.block import LegoBlock
from lego_core.component import Component
from lego_core.fuse import LegoFuse
from lego_core.merge import LegoMerge
from lego_core.protocol import ChartRow, ScoreRow, SiteReport
from lego_core.records import Batch, Cohort
from lego_core.statistics import training_outcomes
from lego_core.tasks import Score, Task
from lego_core.training import Device, choose_device, predict_logits

Method = Literal["block", "ensemble", "merge", "fuse"]
CHUNK = 256  # patients scored at once


class ModelSet(nn.Module):
    """The models of a run that are compared: each block, their ensemble, the merge, the fused one.

    Args:
        merged: The blocks, merged.
        fused: The fused model, if there is one.
    """

    def __init__(self, merged: LegoMerge, fused: LegoFuse | None = None) -> None:
        super().__init__()
        self.merged = merged
        self.fused = fused

    def methods(self, modalities: Sequence[str]) -> list[Method]:
        """Which models are worth a row for this subset of modalities."""
        several: list[Method] = ["ensemble", "merge"] if len(modalities) > 1 else ["block"]
        return several if self.fused is None else [*several, "fuse"]

    @torch.no_grad()
    def predict(self, method: Method, batch: Batch, task: Task) -> Float[Tensor, "B Q"]:
        """Predictions of one model for patients who all hold the batch's modalities."""
        if method == "fuse" and self.fused is not None:
            return task.predict(self.fused(batch))
        if method == "merge":
            return task.predict(self.merged(batch))
        singles = [task.predict(self.merged.blocks[name](batch.inputs[name])) for name in batch.inputs]
        return torch.stack(singles).mean(dim=0)


def score(model: nn.Module, cohort: Cohort, *, task: Task) -> Score:
    """The main metric of one model on one cohort, for a researcher who holds all patients.

    Args:
        model: A block, or any module that turns a `Batch` into logits (B, K): a merge, a fused model.
        cohort: Patients; for a block, those without its modality are left out.
        task: What is predicted.
    """
    if isinstance(model, LegoBlock):
        cohort = cohort.holding(model.modality)
    logits, outcomes = predict_logits(model, cohort)
    return task.score(task.predict(logits), outcomes)


def evaluate(
    model: ModelSet,
    cohort: Cohort,
    *,
    task: Task,
    all_modalities: Sequence[str],
    seed: int,
    bootstrap: int = 200,
    smallest_count: int = 10,
    device: Device = "cpu",
) -> SiteReport:
    """Score every model on every subset of modalities, on a site's own patients.

    Args:
        model: The models to compare, of the modalities that are held here.
        cohort: The site's patients, each in one part. Test patients are scored; of the
            training patients, only outcomes are used, where a metric needs the censoring.
        task: What is predicted.
        all_modalities: The modalities of the whole run; who has all of them is complete.
        seed: Decides the resamples.
        bootstrap: Number of resamples.
        smallest_count: Scores of fewer patients are withheld, and counted as withheld.
        device: Where to compute.

    Guarantees:
        No row rests on fewer than `smallest_count` patients.
    """
    chosen = choose_device(device)
    model = model.to(chosen).eval()
    scores: list[ScoreRow] = []
    charts: list[ChartRow] = []
    withheld = 0
    reference = training_outcomes(cohort, num_columns=len(task.outcome_columns))
    test = cohort.part("test")
    for patients, subset in _cases(cohort, model.merged.modalities, all_modalities):
        group = test.holding(*(all_modalities if patients == "complete" else subset))
        methods = model.methods(subset)
        if len(group) < smallest_count:
            withheld += len(methods) if len(group) else 0
            continue
        outcomes = _outcomes(group)
        resamples = _resamples(len(group), bootstrap, seed)
        for method in methods:
            predictions = _predict(model, method, group.only(*subset), task, chosen)
            about = {"method": method, "modalities": subset, "patients": patients, "count": len(group)}
            scores.append(_score_row(predictions, outcomes, resamples, task=task, about=about))
            if _worth_a_chart(subset, model.merged.modalities):
                details = task.details(predictions, outcomes, reference=reference)
                charts.append(ChartRow.model_validate({**about, "details": details}))
    return SiteReport(scores=tuple(scores), charts=tuple(charts), withheld=withheld)


def subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """All non-empty subsets, small ones first, in the order of the modalities."""
    sizes = range(1, len(modalities) + 1)
    return [chosen for size in sizes for chosen in combinations(modalities, size)]


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


@final
class EvaluationReport(Component):
    """What the sites' reports come to.

    Args:
        metric: Name of the metric.
        best_block: The modality whose block did best on the sites' validation patients.
        scores: All pooled scores.
        withheld: Rows that sites withheld because too few patients stood behind them.
    """

    metric: str
    best_block: str
    scores: tuple[PooledScore, ...]
    withheld: int

    def headline(self, patients: Literal["complete", "holding"] = "complete") -> list[PooledScore]:
        """The rows of the result table: each block, then everything that sees all modalities."""
        every = max((score.modalities for score in self.scores), key=len, default=())
        rows = [score for score in self.scores if score.patients == patients]
        blocks = [score for score in rows if score.method == "block"]
        return blocks + [s for s in rows if s.modalities == every and s.method != "block"]


def pool(reports: Mapping[str, SiteReport], *, metric: str, best_block: str) -> EvaluationReport:
    """Pool the reports of the sites; there are no scores if every site held its own back.

    Args:
        reports: One report per site, by the site's name.
        metric: Name of the metric.
        best_block: The modality whose block did best on validation patients; gains are
            differences to it, on the same test patients.
    """
    same: dict[tuple[str, str, tuple[str, ...]], list[tuple[str, ScoreRow]]] = {}
    for site in sorted(reports):
        for row in reports[site].scores:
            same.setdefault((row.patients, row.method, row.modalities), []).append((site, row))
    pooled = [
        _pool_rows(same[key], against=same.get((key[0], "block", (best_block,))))
        for key in sorted(same, key=lambda key: (key[0], len(key[2]), key[2], key[1]))
    ]
    withheld = sum(report.withheld for report in reports.values())
    return EvaluationReport(metric=metric, best_block=best_block, scores=tuple(pooled), withheld=withheld)


def _cases(
    cohort: Cohort, held: Sequence[str], every: Sequence[str]
) -> Iterable[tuple[Literal["complete", "holding"], tuple[str, ...]]]:
    for subset in subsets([name for name in held if name in cohort.schemas]):
        yield "holding", subset
        if set(every) <= set(held):
            yield "complete", subset


def _worth_a_chart(subset: Sequence[str], held: Sequence[str]) -> bool:
    return len(subset) in {1, len(held)}


def _outcomes(cohort: Cohort) -> Tensor:
    return torch.tensor([record.outcome.values for record in cohort.records]).float()


def _predict(model: ModelSet, method: Method, cohort: Cohort, task: Task, device: torch.device) -> Tensor:
    starts = range(0, len(cohort), CHUNK)
    chunks = [cohort.batch(range(start, min(start + CHUNK, len(cohort)))) for start in starts]
    return torch.cat([model.predict(method, chunk.to(device), task).float().cpu() for chunk in chunks])


def _resamples(count: int, bootstrap: int, seed: int) -> Tensor:
    return torch.randint(count, (bootstrap, count), generator=torch.Generator().manual_seed(seed))


def _score_row(
    predictions: Tensor, outcomes: Tensor, resamples: Tensor, *, task: Task, about: Mapping[str, object]
) -> ScoreRow:
    score = task.score(predictions, outcomes)
    again = [task.score(predictions[chosen], outcomes[chosen]) for chosen in resamples]
    resampled = tuple((one.value, one.pairs) for one in again)
    return ScoreRow.model_validate(
        {**about, "value": score.value, "pairs": score.pairs, "resampled": resampled}
    )


def _pool_rows(
    rows: Sequence[tuple[str, ScoreRow]], *, against: Sequence[tuple[str, ScoreRow]] | None
) -> PooledScore:
    first = rows[0][1]
    values = _weighted(torch.tensor([[row.value, row.pairs] for _, row in rows]))
    resampled = _weighted(torch.tensor([row.resampled for _, row in rows]))
    low, high = _interval(resampled)
    gains: dict[str, float] = {}
    paired = first.patients == "complete"  # the same patients for every subset of modalities
    if paired and against and [site for site, _ in rows] == [site for site, _ in against]:
        base = _weighted(torch.tensor([[row.value, row.pairs] for _, row in against]))
        differences = resampled - _weighted(torch.tensor([row.resampled for _, row in against]))
        gain_low, gain_high = _interval(differences)
        gains = {"gain": float(values - base), "gain_low": gain_low, "gain_high": gain_high}
    return PooledScore(
        method=first.method, modalities=first.modalities, patients=first.patients,
        value=float(values), low=low, high=high, count=sum(row.count for _, row in rows),
        pairs=sum(row.pairs for _, row in rows), sites=tuple(site for site, _ in rows),
        gain=gains.get("gain"), gain_low=gains.get("gain_low"), gain_high=gains.get("gain_high"),
    )  # fmt: skip


def _weighted(pairs: Float[Tensor, "S *R 2"]) -> Float[Tensor, "*R"]:
    """Mean over sites of the first column, weighted by the second; 0.5 where no weight is."""
    values, weights = pairs[..., 0].double(), pairs[..., 1].double()
    total = weights.sum(dim=0)
    return torch.where(total > 0, (values * weights).sum(dim=0) / total.clamp_min(1e-12), 0.5)


def _interval(resampled: Tensor) -> tuple[float, float]:
    low, high = torch.quantile(resampled, torch.tensor([0.025, 0.975], dtype=resampled.dtype)).tolist()
    return low, high
