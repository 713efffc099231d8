"""The coordinator's side of the federation. It never sees a patient."""

import json
from datetime import UTC, datetime
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from lego_core.bundle import ModelBundle
from lego_core.errors import PrivacyError
from lego_core.plan import RunPlan
from lego_core.roster import Roster, read_roster
from lego_core.sealed_file import SealingKey
from server.checkpoint import Vault
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
    run = FederatedRun(plan, Exchange(grid, RunLog(output / "run.jsonl")), vault_of(context))

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


def vault_of(context: Context) -> Vault:
    """Where finished rounds are kept, sealed if the run names a key on the coordinator's disk.

    Raises:
        PrivacyError: If there is no such key, or others may read it.
    """
    named = str(context.run_config.get("checkpoint-key", ""))
    key = SealingKey.load(Path(named)) if named else None
    return Vault(Path(str(context.run_config["output"])) / "checkpoints", key)


def roster_of(context: Context) -> Roster | None:
    """The roster that lies beside simulated sites, if one does.

    Raises:
        PrivacyError: If it, or the list of those who may sign it, cannot be read or does not hold.
    """
    sites_dir = str(context.run_config["sites-dir"])
    if not sites_dir or not (Path(sites_dir) / "roster.json").is_file():
        return None
    try:
        governance = json.loads((Path(sites_dir) / "governance.json").read_text(encoding="utf-8"))
        keys = [str(key) for key in governance]
    except (OSError, ValueError, TypeError) as error:
        raise PrivacyError(
            "The list of governance keys beside the roster, 'governance.json', cannot be read. Make the "
            "sites anew (python -m simulations sites).",
            local=str(error),
        ) from error
    today = datetime.now(UTC).date()
    return read_roster(
        Path(sites_dir) / "roster.json", governance_keys=keys, needed=len(set(keys)), today=today
    )
