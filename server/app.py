"""The coordinator's side of the federation. It never sees a patient."""

from functools import partial
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from lego_core.bundle import ModelBundle
from server.alone import alone_in
from server.exchange import Exchange
from server.federated_run import FederatedRun
from server.outcome import make_report, provenance_of, recorded
from server.resume import before_of, log_of
from server.setting import bundle_key_of, plan_of, vault_of, way_of

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Do a run, and let no other server write to its folder meanwhile."""
    with alone_in(Path(str(context.run_config["output"]))) as output:
        federate(grid, context, output)


def federate(grid: Grid, context: Context, output: Path) -> None:
    """Train blocks where the data lie, merge them, fuse them, evaluate them, hand them over."""
    plan = plan_of(context)
    before = before_of(context, plan)  # if this run resumes one that broke off
    exchange = Exchange(grid, log_of(context, before), return_seconds=plan.participation.return_seconds)
    vault, way = partial(vault_of, context), partial(way_of, plan, exchange, context)
    run = FederatedRun(plan, exchange, vault=vault, way=way, before=before)

    with recorded(run, output):
        bundle_key = bundle_key_of(context)  # a key that cannot be used ends the run here, not at its end
        blocks = run.train_blocks()  # one global block per modality, over many sites
        models = run.merge(blocks)  # LegoMerge: no training
        models = run.fuse(models)  # LegoFuse: some federated rounds, if the plan asks
        results = run.evaluate(models)  # at every site, on patients it kept apart

        report, records = make_report(run, results=results), provenance_of(run)
        bundle = ModelBundle(models, plan, run.agreed.agreement, report, records)
        bundle.save(output / "bundle", key=bundle_key)
    exchange.drop_pieces()  # a run that failed leaves them where they are: the next one need not send them
