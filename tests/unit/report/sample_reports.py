"""Reports of runs as they might be: invented patients, but charts and scores from the real tasks."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lego_core.evaluation import EvaluationReport, pool, subsets
from lego_core.hindsight import look_back
from lego_core.mergeability import Mergeability, MergeabilityPair
from lego_core.protocol import ChartRow, ScoreRow, SiteReport
from lego_core.recommendation import recommend
from lego_core.run_report import (
    LearningPoint,
    LeftOut,
    RoundSummary,
    RunReport,
    SiteCharts,
    SiteSummary,
)
from lego_core.tasks import Classification, Survival, Task

SITES: dict[str, tuple[str, ...]] = {
    "north": ("clinical", "laboratory", "imaging"),
    "east": ("clinical", "laboratory", "imaging"),
    "south": ("clinical", "laboratory"),
    "harbour": ("imaging",),
}
SIZES = {"north": 110, "east": 64, "south": 80, "harbour": 50}
NOISE = {"clinical": 2.0, "laboratory": 1.2, "imaging": 1.7}
VERSIONS = {"lego-core": "0.1.0", "torch": "2.13.0", "python": "3.13.1", "flwr": "1.41.0"}


def survival_report() -> RunReport:
    """A complete run with a fused model, of four sites and three modalities."""
    task = Survival(bin_edges_days=(400.0, 900.0, 1700.0))
    reports, charts = _evaluated(task)
    results = pool(reports, metric=task.metric, best_block="laboratory")
    return RunReport(
        plan="liver-survival",
        description="Survival with primary biliary cholangitis, from three kinds of data.",
        task="survival",
        status="complete-with-absences",
        reason="Site 'harbour' missed a round of block 'imaging'.",
        started="2026-03-04T09:12:40+00:00",
        seconds=1312.4,
        privacy_kind="no-privacy",
        privacy_claim="No privacy protection beyond keeping the records at their sites: the coordinator saw "
        "every site's model updates and its number of training patients.",
        sites=_sites(),
        left_out=(
            LeftOut(
                site="harbour", phase="blocks", round=4, modality="imaging", reason="No answer came in 900 s."
            ),
            LeftOut(site="west", phase="offer", round=0, declined=True, reason="Our board has not met yet."),
        ),
        features={"clinical": 11, "laboratory": 14, "imaging": 64},
        bin_edges_days=(400.0, 900.0, 1700.0),
        parameters={"clinical": 18_404, "laboratory": 19_120, "imaging": 42_870, "fused": 80_394},
        kept_rounds={"clinical": 9, "laboratory": 7, "imaging": 9, "fused": 2},
        mergeability=_forecast(),
        results=results,
        recommendation=recommend(results, modalities=tuple(NOISE)),
        hindsight=look_back(_forecast(), results.pair_merges),
        charts=charts,
        versions=VERSIONS,
        **_learning(),
    )


def classification_report() -> RunReport:
    """A complete run of two classes under secure sum."""
    task = Classification(classes=("benign", "malignant"))
    reports, charts = _evaluated(task)
    return RunReport(
        plan="breast-lesions",
        description="Benign or malignant, from three kinds of data.",
        task="classification",
        status="complete",
        started="2026-03-04T09:12:40+00:00",
        seconds=75,
        privacy_kind="secure-sum",
        privacy_claim="The coordinator saw sums over sites alone, and no site's own update.",
        sites=_sites(),
        features={"clinical": 11, "laboratory": 14, "imaging": 64},
        parameters={"clinical": 18_404, "laboratory": 19_120, "imaging": 42_870},
        results=pool(reports, metric=task.metric, best_block="laboratory"),
        charts=charts,
        versions=VERSIONS,
    )


def failed_report() -> RunReport:
    """A run that ended before anything was trained."""
    return RunReport(
        plan="liver-survival",
        description="",
        task="survival",
        status="failed",
        reason="Of 4 sites that were waited for, none came within 120 seconds",
        started="2026-03-04T09:12:40+00:00",
        seconds=120,
        privacy_kind="no-privacy",
        privacy_claim="No privacy protection.",
    )


def with_gain(report: RunReport, *, gain: float, low: float, high: float) -> RunReport:
    """The same run with another difference between the merge and the best block."""
    if report.results is None:
        return report
    change = {"gain": gain, "gain_low": low, "gain_high": high}
    scores = tuple(
        score.model_copy(update=change) if (score.method, score.patients) == ("merge", "complete") else score
        for score in report.results.scores
    )
    return report.model_copy(update={"results": report.results.model_copy(update={"scores": scores})})


def with_scores(report: RunReport, results: EvaluationReport | None) -> RunReport:
    """The same run with other results."""
    return report.model_copy(update={"results": results})


def _evaluated(task: Task) -> tuple[dict[tuple[str, ...], SiteReport], tuple[SiteCharts, ...]]:
    reports = {}
    for seed, (site, held) in enumerate(SITES.items()):
        complete = [row for row in _site_report(task, site, held, seed=seed + 50).scores if _is_choice(row)]
        test = _site_report(task, site, held, seed=seed)
        reports[(site,)] = test.model_copy(update={"validation": tuple(complete)})
    return reports, tuple(SiteCharts(site=site, rows=report.charts) for (site,), report in reports.items())


def _is_choice(row: ScoreRow) -> bool:
    is_block = (row.method, len(row.modalities)) == ("block", 1)
    return row.patients == "complete" and (is_block or len(row.modalities) == len(NOISE))


def _site_report(task: Task, site: str, held: tuple[str, ...], *, seed: int) -> SiteReport:
    rng = torch.Generator().manual_seed(seed)
    risk = torch.randn(SIZES[site], generator=rng)
    outcomes = _outcomes(task, risk, rng)
    seen = {name: risk + NOISE[name] * torch.randn(len(risk), generator=rng) for name in held}
    scores: list[ScoreRow] = []
    charts: list[ChartRow] = []
    resamples = torch.randint(len(risk), (20, len(risk)), generator=rng)
    groups = ("holding", "complete") if len(held) == len(NOISE) else ("holding",)
    for subset in subsets(held):
        for method, predictions in _models(task, {name: seen[name] for name in subset}).items():
            about = {"method": method, "modalities": subset, "count": len(risk)}
            score = task.score(predictions, outcomes)
            again = [task.score(predictions[chosen], outcomes[chosen]) for chosen in resamples]
            resampled = tuple((one.value, one.pairs) for one in again)
            row = {**about, "value": score.value, "pairs": score.pairs, "resampled": resampled}
            scores += [ScoreRow.model_validate({**row, "patients": patients}) for patients in groups]
            if len(subset) in {1, len(held)}:
                details = task.details(predictions, outcomes, reference=outcomes)
                chart = {**about, "details": details, "patients": groups[-1]}
                charts.append(ChartRow.model_validate(chart))
    return SiteReport(scores=tuple(scores), charts=tuple(charts), withheld=2)


def _outcomes(task: Task, risk: Tensor, rng: torch.Generator) -> Tensor:
    if isinstance(task, Survival):
        wait = -torch.rand(len(risk), generator=rng).log()
        times = 1800 * wait * (-0.9 * risk).exp()
        left = 500 + 3500 * torch.rand(len(risk), generator=rng)
        return torch.stack([torch.minimum(times, left), (times <= left).float()], dim=1)
    chance = (1.6 * risk - 0.4).sigmoid()
    return (torch.rand(len(risk), generator=rng) < chance).float().unsqueeze(1)


def _models(task: Task, seen: Mapping[str, Tensor]) -> dict[str, Tensor]:
    weights = {name: 1 / (1 + NOISE[name] ** 2) for name in seen}
    singles = torch.stack([_predict(task, weights[name] * seen[name]) for name in seen])
    if len(seen) == 1:
        return {"block": singles[0], "fuse": _predict(task, 0.9 * sum(seen.values(), torch.tensor(0.0)))}
    sharp = {name: 1 / NOISE[name] ** 2 for name in seen}
    total = 1 + sum(sharp.values())
    together = sum((sharp[name] * seen[name] for name in seen), torch.tensor(0.0)) / total
    ranked = sum(seen.values(), torch.tensor(0.0)) / len(seen)
    return {
        "ensemble": singles.mean(dim=0),
        "merge": _predict(task, 0.5 * together + 0.3 * ranked),
        "fuse": _predict(task, together),
    }


def _predict(task: Task, risk: Tensor) -> Tensor:
    if isinstance(task, Survival):
        return task.predict(torch.stack([0.9 * risk + base for base in (-1.6, -1.3, -1.0, -0.6)], dim=1))
    return task.predict((1.6 * risk - 0.4).unsqueeze(1))


def _sites() -> tuple[SiteSummary, ...]:
    paired = {site: SIZES[site] // 10 * 10 if len(held) > 1 else 0 for site, held in SITES.items()}
    return tuple(
        SiteSummary(
            site=site, patients=dict.fromkeys(held, 3 * SIZES[site] // 10 * 10), paired_patients=paired[site]
        )
        for site, held in SITES.items()
    )


def _forecast() -> tuple[MergeabilityPair, ...]:
    pairs = (("clinical", "laboratory", 0.21), ("clinical", "imaging", 0.34), ("imaging", "laboratory", 0.29))
    return tuple(
        MergeabilityPair(
            first=first,
            second=second,
            forecast=Mergeability(
                l2_distance=30 * far,
                cosine_dissimilarity=0.9 * far,
                sign_dissimilarity=far,
                truncated_sign_dissimilarity=0.6 * far,
            ),
        )
        for first, second, far in pairs
    )


def _learning() -> dict[str, tuple[RoundSummary, ...] | tuple[LearningPoint, ...]]:
    rng = torch.Generator().manual_seed(7)
    rounds: list[RoundSummary] = []
    points: list[LearningPoint] = []
    for name, last in (("clinical", 13), ("laboratory", 11), ("imaging", 11), ("fused", 4)):
        best = {"clinical": 9, "laboratory": 7, "imaging": 9, "fused": 2}[name]
        phase = "fuse" if name == "fused" else "blocks"
        asked = tuple(
            site for site, held in SITES.items() if name in held or (name == "fused" and len(held) > 1)
        )
        for number in range(1, last + 1):
            answered = tuple(site for site in asked if (site, number) != ("harbour", 4))
            level = 1.15 + 0.006 * (number - 1 - best) ** 2
            rounds.append(
                RoundSummary(
                    phase=phase, round=number, modality=name, asked=asked, answered=answered,
                    validation_loss=level + 0.02,
                )
            )  # fmt: skip
            for site in answered:
                noise = 0.05 * float(torch.randn(1, generator=rng))
                points.append(
                    LearningPoint(
                        phase=phase, round=number, site=site, modality=name, seconds=1.5,
                        train_loss=1.0 + 0.75 * 0.8**number + noise if number < last else None,
                        validation_loss=level + 2 * noise if site != "south" else None,
                    )
                )  # fmt: skip
    return {"rounds": tuple(rounds), "learning": tuple(points)}
