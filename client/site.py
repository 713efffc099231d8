"""One hospital: its data, its modalities, and the plan it has read."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import final

from flwr.app import Context
from pydantic import Field, ValidationError

from client.identity import Identity
from lego_core.component import Component, explain
from lego_core.datasets import Dataset
from lego_core.errors import DataError, LegoError, SiteRefusal
from lego_core.partition import deal
from lego_core.plan import RunPlan
from lego_core.records import Cohort
from lego_core.split import Split, split_by_patient
from lego_core.tasks import Classification, Task
from lego_core.training import Device


@final
class SiteFile(Component):
    """What `site.toml` says; written by the site, read by nobody else.

    Args:
        name: Name of the site, as the other sites may read it.
        data: Where and how the data lie; paths are relative to the file.
        split: The site's own shares of training, validation and test patients.
        device: Where to compute.
        threads: How many processor threads to use.
        identity: Its key and its consortium, for the secure sum.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    data: Dataset
    split: Split | None = None
    device: Device = "auto"
    threads: int = Field(default=1, ge=1)
    identity: Identity | None = None


@dataclass(frozen=True)
class Site:
    """A site in a run.

    Args:
        file: What the site says of itself.
        plan: The plan it has read from its own copy of the bundle.
        cohort: Its patients, each in one part of the split.
        folder: Where `site.toml` lies, with the site's own records beside it.
    """

    file: SiteFile
    plan: RunPlan
    cohort: Cohort
    folder: Path

    @classmethod
    def of(cls, context: Context) -> "Site":
        """Open the site that this process speaks for.

        Raises:
            DataError: If the site file or the data cannot be read.
            SiteRefusal: If the server tries to choose a path on a hospital's disk, or there
                are more nodes than the plan has hospitals.
        """
        plan = plan_of(context)
        if "site-file" not in context.node_config and not context.run_config["sites-dir"]:
            return cls._simulated(context, plan)
        path = site_file(context)
        file = read_site_file(path)
        try:
            _check_classes(file.data.classes_in_order, task=plan.task)
            cohort = file.data.load(path.parent)
            parted = split_by_patient(cohort, file.split or plan.split, task=plan.task, seed=plan.seed)
        except LegoError as error:
            raise type(error)(f"Site '{file.name}': {error.public}", local=error.local) from error
        return cls(file, plan, parted, path.parent)

    @classmethod
    def _simulated(cls, context: Context, plan: RunPlan) -> "Site":
        """Play one of the plan's hospitals with no folder on the disk, as `flwr run .` does."""
        if plan.simulation is None:
            raise SiteRefusal(
                f"Plan '{plan.name}' has no [simulation], and this run names no sites-dir. Choose a plan "
                "with hospitals to play, or make site folders and name them."
            )
        index = int(context.node_config["partition-id"])
        nodes = int(context.node_config["num-partitions"])
        if nodes != plan.simulation.num_hospitals:
            raise SiteRefusal(
                f"Plan '{plan.name}' plays {plan.simulation.num_hospitals} hospitals and Flower started "
                f"{nodes} nodes. Run with --federation-config "
                f"'num-supernodes={plan.simulation.num_hospitals}'."
            )
        cohort = plan.simulation.data.load()
        dealt = deal(cohort, plan.simulation, task=plan.task, split=plan.split, seed=plan.seed)
        name = list(dealt)[index]
        file = SiteFile(name=name, data=plan.simulation.data, split=plan.split)
        return cls(file, plan, dealt[name], local_log(context).parent)


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


def site_file(context: Context) -> Path:
    """Where this site's description lies. The one place where a laptop differs from a hospital.

    Raises:
        SiteRefusal: If the run names a folder on a hospital's disk.
    """
    sites_dir = str(context.run_config["sites-dir"])
    if "site-file" in context.node_config:  # a hospital started its own SuperNode
        if sites_dir:
            raise SiteRefusal(
                "This site declines: the run names a sites-dir, and a server may not choose a path on this "
                'site\'s disk. Run with sites-dir = "".'
            )
        return Path(str(context.node_config["site-file"]))
    return Path(sites_dir) / f"site-{context.node_config['partition-id']}" / "site.toml"


def local_log(context: Context) -> Path:
    """Where this site writes what nobody else may read."""
    if "site-file" in context.node_config:
        return Path(str(context.node_config["site-file"])).parent / "site.log"
    sites_dir = str(context.run_config["sites-dir"])
    folder = Path(sites_dir) if sites_dir else Path("runs") / "flower"
    return folder / f"site-{context.node_config['partition-id']}" / "site.log"


def plan_of(context: Context) -> RunPlan:
    """The plan, from the site's own copy: beside simulated sites, or in the bundle it approved."""
    sites_dir = str(context.run_config["sites-dir"])
    if sites_dir and "site-file" not in context.node_config:
        return RunPlan.load(Path(sites_dir) / "plan.toml")
    return RunPlan.shipped(str(context.run_config["plan"]))


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
