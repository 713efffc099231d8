"""The sentences and numbers that the page, the card and the terminal share.

A claim needs evidence: a model is called above or below the best block only if the paired
interval of the difference excludes zero.
"""

from collections.abc import Sequence

from lego_core._wording import MODELS, count_of, signed_with_interval
from lego_core.evaluation import Gain, Method, PooledScore
from lego_core.run_report import LeftOut, Phase, RunReport

POOLED_NOTE = (
    "Each value is the mean over sites, weighted by comparable pairs; it is not the index of all patients "
    "together. Intervals hold 95 % of the bootstrap resamples of the patients within each site."
)
EXAMINED_NOTE = (
    "The finished model was attacked with what anybody who holds it can see. A value at chance means that "
    "these attacks found nothing; it does not prove that there is nothing to find."
)
METHODS: tuple[Method, ...] = ("block", "ensemble", "merge", "fuse")
METHOD_NAMES: dict[Method, str] = {
    "block": "block",
    "ensemble": "probability ensemble",
    "merge": "LegoMerge",
    "fuse": "LegoFuse",
}
SPOKEN_NAMES = {method: name.capitalize() for method, name in MODELS.items()}
PHASE_NAMES: dict[Phase, str] = {
    "offer": "offer",
    "agree": "agreement",
    "blocks": "training of blocks",
    "merge": "merging",
    "fuse": "training of the fused model",
    "evaluate": "evaluation",
}
PRIVACY_TITLES = {
    "no-privacy": "This run was not private",
    "secure-sum": "Privacy: secure sum",
    "patient-dp": "Privacy: differential privacy of every patient",
}


def headline(report: RunReport) -> str:
    """What came of the run, in two or three plain sentences."""
    if report.status == "failed":
        return f"The run failed. {as_sentence(report.reason or 'No reason was recorded')}"
    scores = headline_scores(report)
    if report.results is None or not scores:
        return "The run ended without results: no site could score enough patients."
    metric, first = report.results.metric, leading_score(scores)
    who = f"{count_of(first.count, 'patient')} of {count_of(len(first.sites), 'site')}"
    if not first.pairs:
        return (
            f"No model can be judged: of {who} no two can be compared, because nobody had the event or all "
            "have the same outcome. Keep patients with different outcomes apart for the test."
        )
    reached = f"reaches {metric} {with_interval(first.value, first.low, first.high)} on {who}."
    if first.method == "block":
        return f"The one block there is, {first.modalities[0]}, {reached}"
    return f"{SPOKEN_NAMES[first.method]} {reached} {_against_best_block(first, scores, report)}"


def comparisons(report: RunReport) -> list[str]:
    """One sentence for every further model that sees all modalities."""
    scores = headline_scores(report)
    if not scores or not leading_score(scores).pairs:
        return []
    first = leading_score(scores)
    others = [score for score in scores if score.method != "block" and score is not first]
    return [
        f"{SPOKEN_NAMES[score.method]} reaches {with_interval(score.value, score.low, score.high)}; "
        f"{_verdict(score)}"
        for score in others
    ]


def headline_scores(report: RunReport) -> list[PooledScore]:
    """The rows of the result table: on complete patients, or on all holders if nobody is complete."""
    if report.results is None:
        return []
    scores = report.results.headline("complete") or report.results.headline("holding")
    return sorted(scores, key=lambda score: METHODS.index(score.method))


def leading_score(scores: Sequence[PooledScore]) -> PooledScore:
    """The model that the run is about, chosen before any score is known: the merge."""
    order: tuple[Method, ...] = ("merge", "fuse", "ensemble", "block")
    return min(scores, key=lambda score: order.index(score.method))


def model_name(method: Method, modalities: Sequence[str]) -> str:
    """What a model is called: `block clinical`, `LegoMerge`."""
    return " ".join([METHOD_NAMES[method], *modalities]) if method == "block" else METHOD_NAMES[method]


def paired_gain(score: PooledScore) -> Gain | None:
    """The gain over the best block and its interval, if both were scored on the same patients."""
    return score.paired_gain if score.patients == "complete" else None


def gain_with_interval(gain: Gain) -> str:
    """Write `+0.021 (-0.010 to +0.053)`."""
    return signed_with_interval(gain.value, gain.low, gain.high)


def status_words(report: RunReport) -> str:
    """The status, for a reader."""
    return {"complete": "Complete", "complete-with-absences": "Complete, with absences"}.get(
        report.status, "Failed"
    )


def resumed(report: RunReport) -> str:
    """How often the run broke off, when it went on and where from, in one sentence; empty if it did not."""
    if not report.resumed:
        return ""
    times = "once" if len(report.resumed) == 1 else f"{len(report.resumed)} times"
    each = [f"{one.when.replace('T', ' ')} from checkpoint {one.checkpoint}" for one in report.resumed]
    return f"The run broke off and was resumed {times}: {', '.join(each)}."


def privacy_title(report: RunReport) -> str:
    """The privacy plan, said aloud."""
    return PRIVACY_TITLES.get(report.privacy_kind, f"Privacy: {report.privacy_kind.replace('-', ' ')}")


def privacy_spent(report: RunReport) -> str:
    """What private training has cost each site, in one sentence; empty where there was none."""
    sites = [
        f"{site} epsilon {spent.epsilon:.2f} at delta {spent.delta:.2g}"
        for site, spent in report.spent.items()
    ]
    return f"Spent so far, over all runs of a site: {', '.join(sites)}." if sites else ""


def left_out_when(absence: LeftOut) -> str:
    """In which part of the run a site was missing."""
    when = PHASE_NAMES[absence.phase]
    if absence.modality:
        when = f"{when}, {absence.modality}"
    return f"{when}, round {absence.round}" if absence.phase in {"blocks", "fuse"} else when


def with_interval(value: float, low: float, high: float) -> str:
    """Write `0.812 (0.764 to 0.861)`."""
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def duration(seconds: float) -> str:
    """Write a time span with two units at most."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def as_sentence(text: str) -> str:
    """End a text with a full stop, unless it has an end."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _against_best_block(first: PooledScore, scores: Sequence[PooledScore], report: RunReport) -> str:
    best = report.results.best_block if report.results else ""
    block = next((s for s in scores if s.method == "block" and s.modalities == (best,)), None)
    gain = paired_gain(first)
    if block is None or gain is None:
        return "It was not scored on the same patients as the best block, so no difference can be claimed."
    difference = gain_with_interval(gain)
    said = f"The best block alone, {best}, reaches {block.value:.3f}. The difference, {difference},"
    if gain.low > 0:
        return f"{said} excludes zero: it is above the best block."
    if gain.high < 0:
        return f"{said} excludes zero: it is below the best block."
    return f"{said} does not exclude zero, so no difference can be claimed."


def _verdict(score: PooledScore) -> str:
    gain = paired_gain(score)
    if gain is None:
        return "it was not scored on the same patients as the best block."
    difference = gain_with_interval(gain)
    if gain.low > 0 or gain.high < 0:
        return f"it is {'above' if gain.low > 0 else 'below'} the best block, by {difference}."
    return f"no difference to the best block can be claimed, {difference}."
