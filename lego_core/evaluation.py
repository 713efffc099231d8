"""How good the models are: every site scores its own patients, the server pools the scores.

A rank metric cannot be averaged into the one of all patients together, because no site sees
pairs across sites. So a site gives the metric and its comparable pairs, and what is pooled
here is the mean over sites, weighted by pairs. Intervals come from resampling the patients
inside each site, with the same resamples for every method, so that differences have one too.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core._groups_to_score import groups_to_chart, groups_to_score, outcomes_of, subsets
from lego_core._pooling import EvaluationReport, Gain, PairMerge, PooledScore, pool
from lego_core.block import LegoBlock
from lego_core.fuse import LegoFuse
from lego_core.merge import LegoMerge
from lego_core.protocol import ChartRow, Method, ScoreRow, SiteReport
from lego_core.records import Batch, Cohort
from lego_core.small_cells import SMALLEST_GROUP
from lego_core.statistics import training_outcomes
from lego_core.tasks import Score, Task
from lego_core.training import Device, choose_device, predict_logits, within_reason

__all__ = [
    "EvaluationReport",
    "Gain",
    "Method",
    "ModelSet",
    "PairMerge",
    "PooledScore",
    "choices_of",
    "evaluate",
    "groups_to_score",
    "methods_of",
    "pool",
    "score",
    "subsets",
]

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
        return methods_of(modalities, with_fused=self.fused is not None)

    @torch.no_grad()
    def predict(self, method: Method, batch: Batch, task: Task) -> Float[Tensor, "B Q"]:
        """Predictions of one model for patients who all hold the batch's modalities."""
        if method == "fuse" and self.fused is not None:
            return task.predict(within_reason(self.fused(batch)))
        if method == "merge":
            return task.predict(within_reason(self.merged(batch)))
        singles = [
            task.predict(within_reason(self.merged.blocks[name](batch.inputs[name]))) for name in batch.inputs
        ]
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
    site: str,
    seed: int,
    bootstrap: int = 200,
    smallest_count: int = 10,
    reference: Literal["train", "test"] = "train",
    with_charts: bool = True,
    device: Device = "cpu",
) -> SiteReport:
    """Score every model on every subset of modalities, on a site's own patients.

    Args:
        model: The models to compare, of the modalities that are held here.
        cohort: The site's patients, each in one part. Test patients are scored, and complete
            validation patients, on which the run chooses a model.
        task: What is predicted.
        all_modalities: The modalities of the whole run; who has all of them is complete.
        site: Name of the site, so that no two sites draw alike.
        seed: Decides the resamples, together with the name.
        bootstrap: Number of resamples.
        smallest_count: Scores of fewer patients are withheld, and counted as withheld; so are those
            that would tell of fewer by subtraction (`small_cells.py`).
        reference: Whose outcomes tell how patients are lost, where a metric of the charts needs the
            censoring. `test` where nothing may be told of training patients without noise.
        with_charts: Whether chart points are wished for.
        device: Where to compute.

    Guarantees:
        No row rests on fewer than `smallest_count` patients.
        Of training patients, nothing but outcomes is used, and with `reference` set to `test` not even these.
    """
    chosen = choose_device(device)
    scorer = _Scorer(
        model.to(chosen).eval(), task, bootstrap=bootstrap, seed=_seed_at(site, seed), device=chosen
    )
    scores: list[ScoreRow] = []
    charts: list[ChartRow] = []
    withheld = 0
    test = cohort.part("test")
    known = outcomes_of(test)
    if reference == "train":
        known = training_outcomes(cohort, num_columns=len(task.outcome_columns))
    enough_for_charts = max(smallest_count, SMALLEST_GROUP)
    held = [name for name in model.merged.modalities if name in cohort.schemas]
    open_groups = groups_to_score(test, held, smallest=smallest_count)
    charted = groups_to_chart(test, held, open_groups, task=task, smallest=enough_for_charts)
    for patients, subset in _cases(cohort, model.merged.modalities, all_modalities):
        of_group = tuple(held) if patients == "complete" else subset
        group = test.holding(*of_group)
        methods = model.methods(subset)
        if of_group not in open_groups:
            withheld += len(methods) if len(group) else 0
            continue
        for method in methods:
            row, predictions = scorer.score(method, group, subset, patients=patients)
            scores.append(row)
            if with_charts and of_group in charted and _worth_a_chart(subset, held):
                details = task.details(
                    predictions, outcomes_of(group), reference=known, smallest=enough_for_charts
                )
                about = row.model_dump(include={"method", "modalities", "patients", "count"})
                charts.append(ChartRow.model_validate({**about, "details": details}))
    complete = _complete(cohort.part("validation"), model.merged.modalities, all_modalities)
    wanted = choices_of(model.merged.modalities, with_fused=model.fused is not None) if len(complete) else []
    enough = len(complete) >= smallest_count
    return SiteReport(
        scores=tuple(scores),
        charts=tuple(charts),
        withheld=withheld,
        validation=tuple(scorer.score(method, complete, seen)[0] for method, seen in wanted if enough),
        validation_withheld=0 if enough else len(wanted),
    )


def methods_of(modalities: Sequence[str], *, with_fused: bool) -> list[Method]:
    """Which models are worth a row for this subset of modalities."""
    several: list[Method] = ["ensemble", "merge"] if len(modalities) > 1 else ["block"]
    return [*several, "fuse"] if with_fused else several


def choices_of(every: Sequence[str], *, with_fused: bool) -> list[tuple[Method, tuple[str, ...]]]:
    """What a run can choose from: each block, and every model that sees all of several modalities."""
    if len(every) < 2:
        return []
    blocks: list[tuple[Method, tuple[str, ...]]] = [("block", (name,)) for name in every]
    return blocks + [(method, tuple(every)) for method in methods_of(every, with_fused=with_fused)]


def _cases(
    cohort: Cohort, held: Sequence[str], every: Sequence[str]
) -> Iterable[tuple[Literal["complete", "holding"], tuple[str, ...]]]:
    for subset in subsets([name for name in held if name in cohort.schemas]):
        yield "holding", subset
        if set(every) <= set(held):
            yield "complete", subset


def _complete(cohort: Cohort, held: Sequence[str], every: Sequence[str]) -> Cohort:
    """The patients who have every modality of the run; nobody where a block is missing."""
    return cohort.holding(*every) if set(every) <= set(held) else cohort.keep([])


def _worth_a_chart(subset: Sequence[str], held: Sequence[str]) -> bool:
    return len(subset) in {1, len(held)}


def _seed_at(site: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"resamples/{seed}/{site}".encode()).digest()[:8])


@dataclass(frozen=True)
class _Scorer:
    """Score one model on one group of patients, with the same resamples for every model."""

    model: ModelSet
    task: Task
    _: KW_ONLY
    bootstrap: int
    seed: int
    device: torch.device

    def score(
        self,
        method: Method,
        group: Cohort,
        subset: Sequence[str],
        *,
        patients: Literal["complete", "holding"] = "complete",
    ) -> tuple[ScoreRow, Float[Tensor, "B Q"]]:
        """The score, and the predictions behind it."""
        predictions, outcomes = self._predict(method, group.only(*subset)), outcomes_of(group)
        score = self.task.score(predictions, outcomes)
        again = [self.task.score(predictions[rows], outcomes[rows]) for rows in self._resamples(len(group))]
        row = ScoreRow(
            method=method, modalities=tuple(subset), patients=patients, count=len(group),
            value=score.value, pairs=score.pairs,
            resampled=tuple((one.value, one.pairs) for one in again),
        )  # fmt: skip
        return row, predictions

    def _predict(self, method: Method, cohort: Cohort) -> Tensor:
        starts = range(0, len(cohort), CHUNK)
        chunks = [cohort.batch(range(start, min(start + CHUNK, len(cohort)))) for start in starts]
        return torch.cat(
            [self.model.predict(method, chunk.to(self.device), self.task).float().cpu() for chunk in chunks]
        )

    def _resamples(self, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randint(count, (self.bootstrap, count), generator=generator)
