"""What a run begins with: its plan, its roster, its keys, from Flower's run configuration."""

from datetime import UTC, datetime
from pathlib import Path

from flwr.app import Context

from lego_core.errors import PrivacyError
from lego_core.governance import read_governance
from lego_core.plan import RunPlan
from lego_core.roster import Roster
from lego_core.run_sums import run_name
from lego_core.sealed_file import SealingKey
from lego_core.signing import SigningKey
from server.checkpoint import Vault
from server.exchange import Exchange
from server.open_sums import OpenOffice
from server.sums import SumOffice
from server.way import InTheOpen, Summed, Way


def plan_of(context: Context) -> RunPlan:
    """The plan: beside simulated sites, or the one of that name in this bundle."""
    sites_dir = str(context.run_config["sites-dir"])
    if sites_dir:
        return RunPlan.load(Path(sites_dir) / "plan.toml")
    return RunPlan.shipped(str(context.run_config["plan"]))


def vault_of(context: Context) -> Vault:
    """Where checkpoints are kept, sealed if the run names a key on the coordinator's disk.

    Raises:
        PrivacyError: If there is no such key, or others may read it.
    """
    named = str(context.run_config.get("checkpoint-key", ""))
    key = SealingKey.load(Path(named)) if named else None
    return Vault(Path(str(context.run_config["output"])) / "checkpoints", key)


def bundle_key_of(context: Context) -> SigningKey | None:
    """Who vouches for the bundle, if the run names a key on the coordinator's disk.

    Raises:
        PrivacyError: If there is no such key, or others may read it.
    """
    named = str(context.run_config.get("bundle-key", ""))
    return SigningKey.load(Path(named)) if named else None


def roster_of(context: Context) -> Roster | None:
    """The roster of the federation whose folder the run names, or the one that lies beside simulated sites.

    Raises:
        PrivacyError: If it, or the list of those who may sign it, cannot be read or does not hold.
    """
    named, sites_dir = str(context.run_config.get("roster", "")), str(context.run_config["sites-dir"])
    folder = Path(named or sites_dir)
    if not named and not (sites_dir and (folder / "roster.json").is_file()):
        return None
    today = datetime.now(UTC).date()
    return read_governance(folder / "governance.json").read_roster(folder / "roster.json", today=today)


def way_of(plan: RunPlan, exchange: Exchange, context: Context) -> Way:
    """How the sites' numbers travel: unseen, where the plan says so.

    Raises:
        PrivacyError: If there is no roster to check the sites' keys with.
    """
    wait_seconds, terms = plan.participation.round_seconds, plan.privacy.sum_terms
    if terms is None:
        return InTheOpen(exchange, OpenOffice(exchange, wait_seconds=wait_seconds))
    roster = roster_of(context)
    if roster is None:
        raise PrivacyError(
            f"Plan '{plan.name}' sums securely, and there is no roster to check the sites' keys with. Name "
            "the coordinator's folder as roster; or make site folders (python -m simulations sites), which "
            "have keys and a roster, and name them as sites-dir."
        )
    keys = roster.keys_at(datetime.now(UTC).date())
    run = run_name(plan.name, context.run_id)
    office = SumOffice(
        exchange, terms, keys, roster.sha256, run=run, wait_seconds=wait_seconds,
        last_sites=dict(exchange.log.last_opened),
    )  # fmt: skip
    return Summed(office)
