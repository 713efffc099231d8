"""One hospital: its data, its modalities, and the plan it has read."""

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Context
from pydantic import Field, ValidationError, model_validator

from client.identity import Identity
from client.rules import SiteRules
from client.unchanged import RunPins
from lego_core.component import Component, explain
from lego_core.datasets import Dataset
from lego_core.errors import DataError, LegoError, PrivacyError, SiteRefusal
from lego_core.partition import deal
from lego_core.plan import RunPlan, find_plan
from lego_core.privacy.fsa1.limits import SiteLimits
from lego_core.records import Cohort
from lego_core.run_sums import run_name
from lego_core.split import Split, split_by_patient
from lego_core.tasks import Classification, Task
from lego_core.training import Device

Gpu = Annotated[int, Field(ge=0)] | Annotated[str, Field(pattern=r"^(GPU|MIG)-[0-9A-Za-z-]+$")]


@final
class SiteFile(Component):
    """What `site.toml` says; written by the site, read by nobody else.

    Args:
        name: Name of the site, as the other sites may read it.
        data: Where and how the data lie; paths are relative to the file.
        split: The site's own shares of training, validation and test patients.
        split_seed: Decides who is in which part, in place of the plan's seed, and goes with `split`. Then
            plans of other seeds and shares have the same patients trained on, as long as they ask for
            the same outcomes and the patients stay the same; without it, each deals the parts anew.
        device: Where to compute.
        gpu: The one graphics card that `python -m deploy site start` lets the node see, by number or
            UUID; all of them if not given.
        threads: How many processor threads to use.
        identity: Its key and its consortium, for the secure sum.
        secure_sum: What the site asks of a secure sum, beyond what the plan says.
        rules: What the site takes part in at all.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    data: Dataset
    split: Split | None = None
    split_seed: int | None = Field(default=None, ge=0)
    device: Device = "auto"
    gpu: Gpu | None = None
    threads: int = Field(default=1, ge=1)
    identity: Identity | None = None
    secure_sum: SiteLimits = SiteLimits()
    rules: SiteRules = SiteRules()

    @model_validator(mode="after")
    def _check_split(self) -> "SiteFile":
        if self.split_seed is not None and self.split is None:
            raise ValueError(
                f"split-seed is {self.split_seed}, and the shares of the parts are each plan's own, so that "
                "parts would change all the same; add the table [split]"
            )
        return self


@dataclass(frozen=True)
class Credentials:
    """Who a site is in a secure sum, and who the others are.

    Args:
        key: The site's private key.
        keys: The public keys that count today, by site.
        roster_sha256: Hash of the roster.
    """

    key: Ed25519PrivateKey = field(repr=False)
    keys: Mapping[str, bytes]
    roster_sha256: str


@final
@dataclass(frozen=True)
class Site:
    """A site in a run.

    Args:
        file: What the site says of itself.
        plan: The plan it has read from its own copy of the bundle.
        folder: Where `site.toml` lies, with the site's own records beside it.
        load: Reads the site's patients; asked once, and only by who needs them.
    """

    file: SiteFile
    plan: RunPlan
    folder: Path
    load: Callable[[], Cohort]

    @classmethod
    def of(cls, context: Context) -> "Site":
        """Open the site that this process speaks for; its data are not read yet.

        Raises:
            DataError: If the site file cannot be read.
            SiteRefusal: If the server tries to choose a path on a hospital's disk, the site's rules
                are against the plan, the plan is another than earlier in this run, or there are more
                nodes than the plan has hospitals.
        """
        plan = plan_of(context)
        if not is_hospital(context) and not context.run_config["sites-dir"]:
            return cls._simulated(context, plan)
        path = site_file(context)
        file = read_site_file(path)
        if is_hospital(context):
            file.rules.check_stated()
        sha256 = hashlib.sha256(plan_file(context).read_bytes()).hexdigest()
        file.rules.check_plan(plan, sha256=sha256)
        pins = RunPins(path.parent, run=run_name(plan.name, context.run_id))
        pins.check_plan(sha256)
        site = cls.opened(file, plan, path.parent)
        return replace(site, load=lambda: pins.checked(site.load()))

    @classmethod
    def opened(cls, file: SiteFile, plan: RunPlan, folder: Path) -> "Site":
        """The site that a file describes, outside of any run.

        Args:
            file: What `site.toml` says.
            plan: The plan.
            folder: Where the file lies.
        """
        return cls(file, plan, folder, load=lambda: file.rules.restrict(_load(file, plan, folder)))

    @cached_property
    def cohort(self) -> Cohort:
        """The site's patients, each in one part of the split.

        Raises:
            DataError: If the data cannot be read.
            SiteRefusal: If they are others than earlier in this run.
        """
        return self.load()

    @property
    def smallest_count(self) -> int:
        """Fewest patients behind a score: the plan's number or the site's own, whichever is larger."""
        return max(self.plan.evaluation.smallest_count, self.file.rules.smallest_count or 1)

    @cached_property
    def credentials(self) -> Credentials:
        """What the site takes part in a secure sum with.

        Raises:
            PrivacyError: If it has no key or roster, or they do not hold today.
        """
        identity, name = self.file.identity, self.file.name
        if identity is None:
            raise PrivacyError(
                f"Site '{name}' is asked to take part in a secure sum, and its site.toml has no [identity]. "
                "Make a key with 'fedlego keys make FILE', have it put on the consortium's roster, and name "
                "both."
            )
        today = datetime.now(UTC).date()
        key, roster = identity.signing_key(self.folder), identity.read_roster(self.folder, today=today)
        roster.check_member(name, public_key=key.public, today=today)
        return Credentials(key.identity, roster.keys_at(today), roster.sha256)

    @classmethod
    def _simulated(cls, context: Context, plan: RunPlan) -> "Site":
        """Play one of the plan's hospitals with no folder on the disk, as `flwr run .` does."""
        simulation = plan.simulation
        if simulation is None:
            raise SiteRefusal(
                f"Plan '{plan.name}' has no [simulation], and this run names no sites-dir. Choose a plan "
                "with hospitals to play, or make site folders and name them."
            )
        index = int(context.node_config["partition-id"])
        nodes = int(context.node_config["num-partitions"])
        if nodes != simulation.num_hospitals:
            raise SiteRefusal(
                f"Plan '{plan.name}' plays {simulation.num_hospitals} hospitals and Flower started "
                f"{nodes} nodes. Run with --federation-config "
                f"'num-supernodes={simulation.num_hospitals}'."
            )
        cohort = simulation.data.load()
        dealt = deal(cohort, simulation, task=plan.task, split=plan.split, seed=plan.seed)
        name = list(dealt)[index]
        file = SiteFile(name=name, data=simulation.data, split=plan.split)
        return cls(file, plan, local_log(context).parent, load=lambda: dealt[name])


def _load(file: SiteFile, plan: RunPlan, folder: Path) -> Cohort:
    try:
        _check_classes(file.data.classes_in_order, task=plan.task)
        cohort = file.data.load(folder)
        seed = plan.seed if file.split_seed is None else file.split_seed
        return split_by_patient(cohort, file.split or plan.split, task=plan.task, seed=seed)
    except LegoError as error:
        raise type(error)(f"Site '{file.name}': {error.public}", local=error.local) from error


def _check_classes(classes: tuple[str, ...] | None, *, task: Task) -> None:
    """Refuse classes that the site numbers otherwise than the plan: they would be taken for others.

    A site may write them in its own words, so only their number and a change of order can be seen.
    """
    if classes is None or not isinstance(task, Classification) or classes == task.classes:
        return
    if len(classes) != len(task.classes) or set(classes) == set(task.classes):
        raise DataError(
            f"site.toml lists the classes {list(classes)} and the plan {list(task.classes)}. List every "
            "class of the plan, in its order, also those that no patient here has."
        )


def is_hospital(context: Context) -> bool:
    """Whether a hospital started this node for its own data; all others are played."""
    return "site-file" in context.node_config


def site_file(context: Context) -> Path:
    """Where this site's description lies. The one place where a laptop differs from a hospital.

    Raises:
        SiteRefusal: If the run names a folder on a hospital's disk.
    """
    sites_dir = str(context.run_config["sites-dir"])
    if is_hospital(context):
        if sites_dir:
            raise SiteRefusal(
                "This site declines: the run names a sites-dir, and a server may not choose a path on this "
                'site\'s disk. Run with sites-dir = "".'
            )
        return Path(str(context.node_config["site-file"]))
    return Path(sites_dir) / f"site-{context.node_config['partition-id']}" / "site.toml"


def local_log(context: Context) -> Path:
    """Where this site writes what nobody else may read."""
    if is_hospital(context):
        return Path(str(context.node_config["site-file"])).parent / "site.log"
    sites_dir = str(context.run_config["sites-dir"])
    folder = Path(sites_dir) if sites_dir else Path("runs") / "flower"
    return folder / f"site-{context.node_config['partition-id']}" / "site.log"


def plan_of(context: Context) -> RunPlan:
    """The plan, from the site's own copy."""
    return RunPlan.load(plan_file(context))


def plan_file(context: Context) -> Path:
    """Where the site's own copy of the plan lies: beside simulated sites, or in the bundle it approved.

    Raises:
        PlanError: If there is none of the run's name.
    """
    sites_dir = str(context.run_config["sites-dir"])
    if sites_dir and not is_hospital(context):
        return Path(sites_dir) / "plan.toml"
    return find_plan(str(context.run_config["plan"]))


def read_site_file(path: Path) -> SiteFile:
    """Read a `site.toml`.

    Raises:
        DataError: If it cannot be read, is not TOML, or has unknown or missing keys.
    """
    try:
        return SiteFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise DataError(
            "This site's description 'site.toml' cannot be read. Give its path in the node's "
            "configuration, key site-file.",
            local=f"{path}: {error}",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise DataError("'site.toml' is not TOML. Mend the line.", local=f"{path}: {error}") from error
    except ValidationError as error:
        raise explain(error, where="'site.toml'", kind=DataError) from error
