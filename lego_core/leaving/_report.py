"""What of a run's report still holds without some blocks."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from lego_core.bundle import ModelBundle
from lego_core.evaluation import EvaluationReport, PooledScore
from lego_core.recommendation import Recommendation
from lego_core.run_report import RunReport

Number = TypeVar("Number", int, float)


def report_without(bundle: ModelBundle, *, rest: Sequence[str], names: Sequence[str]) -> RunReport:
    """The run's report, as far as it speaks of the blocks that stay.

    Scores of subsets of these blocks are of the same merge, so they hold; where trunks were merged they
    are of another trunk, and go. Gains over a block that is gone go too, and so do the attacks, which
    were on the old model.
    """
    old = bundle.report
    own_scores = old.results if bundle.plan.merging.trunk is None else None
    results = own_scores and _results_without(own_scores, rest=rest)
    left_out = ", ".join(f"'{name}'" for name in names)
    made = f"Made from bundle {bundle.sha256[:12]}… by leaving out {left_out} and merging the others again."
    return old.model_copy(
        update={
            "description": f"{old.description.strip()} {made}".strip(),
            "sites": tuple(
                site.model_copy(update={"patients": _of(site.patients, rest)}) for site in old.sites
            ),
            "left_out": tuple(one for one in old.left_out if one.modality in ("", *rest)),
            "features": _of(old.features, rest),
            "rounds": tuple(one for one in old.rounds if one.modality in rest),
            "learning": tuple(one for one in old.learning if one.modality in rest),
            "kept_rounds": _of(old.kept_rounds, rest),
            "parameters": _of(old.parameters, rest),
            "modality_weights": _of(old.modality_weights, rest),
            "mergeability": tuple(one for one in old.mergeability if {one.first, one.second} <= set(rest)),
            "results": results,
            "recommendation": _recommendation(old.recommendation, rest),
            "hindsight": None,
            "charts": tuple(
                site.model_copy(
                    update={
                        "rows": tuple(
                            row
                            for row in site.rows
                            if row.method != "fuse" and set(row.modalities) <= set(rest)
                        )
                    }
                )
                for site in old.charts
                if results
            ),
            "self_examination": (),
        }
    )


def _results_without(results: EvaluationReport, *, rest: Sequence[str]) -> EvaluationReport:
    validation = _holding(results.validation, rest)
    best = results.best_block if results.best_block in rest else _best_on_validation(validation)
    gone = results.best_block not in rest
    nothing = {"gain": None, "gain_low": None, "gain_high": None}
    scores, judged = (
        tuple(one.model_copy(update=nothing) if gone else one for one in rows)
        for rows in (_holding(results.scores, rest), validation)
    )
    pairs = tuple(one for one in results.pair_merges if {one.first, one.second} <= set(rest))
    changes = {"best_block": best, "scores": scores, "validation": judged, "pair_merges": pairs}
    return results.model_copy(update=changes)


def _holding(scores: Collection[PooledScore], rest: Sequence[str]) -> tuple[PooledScore, ...]:
    return tuple(one for one in scores if one.method != "fuse" and set(one.modalities) <= set(rest))


def _best_on_validation(scores: Collection[PooledScore]) -> str:
    """The block that does best on the run's complete validation patients; no name if nobody tried."""
    blocks = {one.modalities[0]: one.value for one in scores if one.method == "block" and one.pairs}
    return max(blocks, key=blocks.__getitem__) if blocks else ""


def _recommendation(old: Recommendation | None, rest: Sequence[str]) -> Recommendation | None:
    """A block that stays is recommended still; nobody has weighed the new merge against it."""
    if len(rest) == 1:
        said = f"Recommended: the block {rest[0]}. It is the only one left."
        return Recommendation(method="block", modality=rest[0], sentence=said)
    if old and old.method == "block" and old.modality in rest:
        said = (
            f"Recommended: the block {old.modality}, as by the run. Nobody has weighed the new merge against "
            "it on validation patients."
        )
        return Recommendation(method="block", modality=old.modality, sentence=said)
    return None


def _of(numbers: Mapping[str, Number], rest: Sequence[str]) -> dict[str, Number]:
    return {name: number for name, number in numbers.items() if name in rest}
