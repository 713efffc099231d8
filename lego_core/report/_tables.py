"""The tables of a report, row by row, in the form in which they are read."""

from dataclasses import dataclass

from lego_core.evaluation import PairMerge, PooledScore
from lego_core.hindsight import NAMES
from lego_core.mergeability import MergeabilityPair
from lego_core.report.words import gain_with_interval, headline_scores, model_name, paired_gain
from lego_core.run_report import RunReport


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One model in the result table."""

    name: str
    is_best_block: bool
    value: str
    interval: str
    gain: str
    patients: str
    pairs: str
    sites: str


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One site in the table of who took part; a count is empty if it does not hold the modality."""

    site: str
    patients: tuple[str, ...]
    paired: str
    answers: str


@dataclass(frozen=True, slots=True)
class BlockRow:
    """One block, or the fused model, in the table of what was trained."""

    name: str
    features: str
    parameters: str
    rounds: str
    kept: str
    share: str


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """One pair of blocks: how far they lie apart, and what merging them did."""

    pair: str
    distances: tuple[str, ...]
    gain: str
    better: str
    patients: str


@dataclass(frozen=True, slots=True)
class ExaminedRow:
    """One attack in the table of the self-examination."""

    attack: str
    model: str
    value: str
    interval: str
    chance: str
    sentence: str


def modalities_of(report: RunReport) -> list[str]:
    """The modalities of the run: those agreed on, then those that sites only offered."""
    offered = [name for site in report.sites for name in site.patients]
    return list(dict.fromkeys([*report.features, *offered]))


def result_rows(report: RunReport) -> list[ResultRow]:
    """Each block, then every model that sees all modalities."""
    best = report.results.best_block if report.results else ""
    return [_result_row(score, best) for score in headline_scores(report)]


def site_rows(report: RunReport) -> list[SiteRow]:
    """Each site: training patients with each modality, and how often it answered."""
    rows = []
    for site in report.sites:
        asked = sum(site.site in one.asked for one in report.rounds)
        answered = sum(site.site in one.answered for one in report.rounds)
        held = site.patients
        counts = tuple(_rounded(held[name]) if name in held else "" for name in modalities_of(report))
        paired = _rounded(site.paired_patients) if len(held) > 1 else ""
        answers = f"{answered} of {asked}" if asked else ""
        rows.append(SiteRow(site.site, counts, paired, answers))
    return rows


def block_rows(report: RunReport) -> list[BlockRow]:
    """Each block, and the fused model: size, rounds, which round was kept, its share in the merge."""
    trained = [one.modality for one in report.rounds]
    names = dict.fromkeys([*report.features, *report.parameters, *trained])
    return [
        BlockRow(
            name=name,
            features=_known(report.features, name),
            parameters=_known(report.parameters, name),
            rounds=f"{max((one.round for one in report.rounds if one.modality == name), default=0)}",
            kept=_known(report.kept_rounds, name),
            share=_share(report.modality_weights, name),
        )
        for name in names
    ]


def forecast_rows(report: RunReport) -> list[ForecastRow]:
    """Each pair of blocks, the nearest first by the first measure; none if no merge was judged."""
    merges = report.results.pair_merges if report.results else ()
    judged = {frozenset((one.first, one.second)): one for one in merges}
    pairs = sorted(report.mergeability, key=lambda pair: getattr(pair.forecast, next(iter(NAMES))))
    rows = [_forecast_row(pair, judged.get(frozenset((pair.first, pair.second)))) for pair in pairs]
    return rows if judged else []


def rank_agreement(report: RunReport) -> list[str]:
    """Kendall's tau of every measure, in the order of the table's columns."""
    agreement = report.hindsight.agreement if report.hindsight else ()
    return ["–" if one.tau is None else f"{one.tau:+.2f}" for one in agreement]


def examined_rows(report: RunReport) -> list[ExaminedRow]:
    """The attacks on the finished model."""
    return [
        ExaminedRow(
            attack=f"{one.attack}, {one.measure}",
            model=one.model,
            value=f"{one.value:.3f}",
            interval="" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}",
            chance=f"{one.chance:.2f}",
            sentence=one.sentence,
        )
        for one in report.self_examination
    ]


def _forecast_row(pair: MergeabilityPair, merge: PairMerge | None) -> ForecastRow:
    return ForecastRow(
        pair=f"{pair.first} + {pair.second}",
        distances=tuple(f"{getattr(pair.forecast, measure):.3f}" for measure in NAMES),
        gain=gain_with_interval(merge.gain) if merge else "–",
        better=merge.better if merge else "–",
        patients=f"{merge.gain.patients:,}" if merge else "–",
    )


def _result_row(score: PooledScore, best_block: str) -> ResultRow:
    is_best = score.method == "block" and score.modalities == (best_block,)
    gain = paired_gain(score) if score.pairs else None
    return ResultRow(
        name=model_name(score.method, score.modalities),
        is_best_block=is_best,
        value=f"{score.value:.3f}" if score.pairs else "–",
        interval=f"{score.low:.3f} to {score.high:.3f}" if score.pairs else "",
        gain="" if is_best or gain is None else gain_with_interval(gain),
        patients=f"{score.count:,}",
        pairs=f"{score.pairs:,.0f}",
        sites=f"{len(score.sites)}",
    )


def _rounded(patients: int) -> str:
    """Counts come rounded down to tens, so that 0 stands for fewer than ten."""
    return f"{patients:,}" if patients else "<10"


def _known(numbers: dict[str, int], name: str) -> str:
    return f"{numbers[name]:,}" if name in numbers else ""


def _share(weights: dict[str, float], name: str) -> str:
    return f"{weights[name] / sum(weights.values()):.0%}" if name in weights else ""
