"""How a run ends: with a report, whether it went well or not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lego_core.bundle import versions
from lego_core.errors import LegoError, LogError
from lego_core.evaluation import EvaluationReport
from lego_core.hindsight import look_back
from lego_core.manifest import Provenance
from lego_core.plan import RunPlan
from lego_core.recommendation import recommend
from lego_core.report import render_page
from lego_core.run_report import RunReport
from server.federated_run import FederatedRun


@contextmanager
def recorded(run: FederatedRun, output: Path) -> Iterator[None]:
    """Write the report and the last line of the diary, also when the run breaks.

    An error goes on its way afterwards, so that Flower knows that the run failed.
    """
    plan, log = run.plan, run.exchange.log
    if run.before is None:
        log.write("run-started", {**_described(plan), "lots": log.lots})
    else:
        log.going_on(run.before.name, run.before.damaged)
    (output / "report.json").unlink(missing_ok=True)  # of an attempt that failed
    try:
        yield
    except BaseException as error:
        reason = error.public if isinstance(error, LegoError) else f"{type(error).__name__}: {error}"
        with suppress(OSError, LogError):  # on a full disk the error itself must still be told
            failed = make_report(run, results=None, reason=reason)
            (output / "report.json").write_text(json.dumps(failed.model_dump(mode="json"), indent=1))
            _finish(run, output, failed, bundle="")
        raise
    done = RunReport.model_validate_json((output / "bundle" / "report.json").read_bytes())
    _finish(run, output, done, bundle=str(output / "bundle"))


def make_report(run: FederatedRun, *, results: EvaluationReport | None, reason: str = "") -> RunReport:
    """Everything the run has to tell.

    Args:
        results: The pooled scores; None if the run failed.
        reason: Why it failed.
    """
    plan, log = run.plan, run.exchange.log
    agreement = run.agreement
    schemas = agreement.schemas if agreement else {}
    absences = "complete-with-absences" if log.left_out else "complete"
    return RunReport(
        plan=plan.name,
        description=plan.description,
        task=plan.task.kind,
        status=absences if results else "failed",
        reason=reason,
        started=log.started.isoformat(timespec="seconds"),
        seconds=round(log.seconds, 1),
        privacy_kind=plan.privacy.kind,
        privacy_claim=plan.privacy.claim,
        sites=tuple(one.summary() for one in run.participants),
        left_out=tuple(log.left_out),
        features={name: schema.num_features for name, schema in schemas.items()},
        bin_edges_days=tuple(getattr(agreement.task, "bin_edges_days", None) or ()) if agreement else (),
        rounds=tuple(log.rounds),
        learning=tuple(log.learning),
        kept_rounds={learner.name: learner.best_round for learner in run.learners},
        parameters={learner.name: learner.num_parameters for learner in run.learners},
        spent=dict(sorted(log.spent.items())),
        modality_weights=run.modality_weights,
        mergeability=tuple(run.mergeability),
        results=results,
        recommendation=recommend(results, modalities=list(schemas)) if results else None,
        hindsight=look_back(run.mergeability, results.pair_merges) if results else None,
        charts=tuple(run.charts),
        resumed=tuple(log.resumed),
        versions=versions(),
    )


def provenance_of(run: FederatedRun) -> Provenance:
    """What the records of the run must still hold, for whoever has them."""
    log = run.exchange.log
    heads = {site: spent.ledger_head for site, spent in sorted(log.spent.items())}
    return Provenance(
        roster_sha256=run.way.roster_sha256,
        run_log_head=log.head,
        ledger_heads=heads or None,
    )


def _described(plan: RunPlan) -> dict[str, object]:
    """What whoever reads the diary alone has to know of the plan."""
    one_shot, noise, waits = plan.rounds.mode == "one-shot", plan.privacy.noise_terms, plan.participation
    return {
        "plan": plan.name,
        "task": plan.task.kind,
        "modalities": list(plan.modalities),
        "privacy": plan.privacy.kind,
        "claim": plan.privacy.claim,
        "epsilon": noise.epsilon if noise else None,
        "rounds": 1 if one_shot else plan.rounds.rounds,
        "fuse_rounds": plan.fuse.rounds if plan.fuse else 0,
        "expected_sites": plan.expected_sites,
        "wait_seconds": waits.wait_seconds,
        "round_seconds": waits.round_seconds,
    }


def _finish(run: FederatedRun, output: Path, report: RunReport, *, bundle: str) -> None:
    page = output / "report.html"
    page.write_text(render_page(report), encoding="utf-8")
    if report.recommendation:
        said = {"sentence": report.recommendation.sentence, "afterwards": report.recommendation.afterwards}
        run.exchange.log.write("recommended", said)
    ended = {"status": report.status, "reason": report.reason, "bundle": bundle, "report": str(page)}
    run.exchange.log.write("finished", ended)
