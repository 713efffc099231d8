"""The coordinator's side of the federation. It never sees a patient."""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from lego_core.bundle import ModelBundle
from lego_core.plan import RunPlan
from server.exchange import Exchange
from server.federated_run import FederatedRun
from server.outcome import make_report, recorded
from server.run_log import RunLog

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train blocks where the data lie, merge them, fuse them, evaluate them, hand them over."""
    output = Path(str(context.run_config["output"]))
    plan = plan_of(context)
    run = FederatedRun(plan, Exchange(grid, RunLog(output / "run.jsonl")), output / "checkpoints")

    with recorded(run, output):
        blocks = run.train_blocks()  # one global block per modality, over many sites
        models = run.merge(blocks)  # LegoMerge: no training
        models = run.fuse(models)  # LegoFuse: some federated rounds, if the plan asks
        results = run.evaluate(models)  # at every site, on patients it kept apart

        report = make_report(run, results=results)
        ModelBundle(models, plan, run.agreed.agreement, report).save(output / "bundle")


def plan_of(context: Context) -> RunPlan:
    """The plan: beside simulated sites, or the one of that name in this bundle."""
    sites_dir = str(context.run_config["sites-dir"])
    if sites_dir:
        return RunPlan.load(Path(sites_dir) / "plan.toml")
    return RunPlan.shipped(str(context.run_config["plan"]))
