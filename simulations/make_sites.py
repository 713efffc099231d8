"""Make site folders: the patients of one dataset, dealt out to a plan's hospitals.

FOLDER/plan.toml           the plan, as every site reads it
FOLDER/hospitals.json      who got what, in numbers
FOLDER/site-0/site.toml    the first hospital, in the form a real one uses
FOLDER/site-0/*.csv        its own tables
FOLDER/site-0/identity.key its private key
FOLDER/roster.json         the public keys of all, signed
FOLDER/governance.json     the public keys of those who signed
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import final, get_args

import tomli_w

from client.identity import Identity
from client.rules import CALLS_CODE, SiteRules
from client.site import SiteFile
from lego_core.component import Component
from lego_core.datasets import (
    Breast,
    ClassOutcome,
    LabelsOutcome,
    OutcomeColumns,
    Pbc,
    SurvivalOutcome,
    Synthetic,
    write_tables,
)
from lego_core.errors import DataError, PlanError
from lego_core.governance import Governance
from lego_core.partition import deal
from lego_core.plan import RunPlan
from lego_core.records import Cohort, Part
from lego_core.roster import Roster, RosterEntry, SignedRoster
from lego_core.signing import SigningKey
from lego_core.simulation import Simulation
from lego_core.tasks import Classification, MultiLabel, Task

USUAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MANY_FEATURES = 100  # tables this wide are written as parquet
GOVERNORS = 2
VALID_FOR = timedelta(days=3650)


@final
class MadeSite(Component):
    """What one simulated hospital got.

    Args:
        site: Its name.
        folder: Its folder's name.
        patients: Number of patients in each part.
        modalities: For every modality, how many patients of each part hold it.
    """

    site: str
    folder: str
    patients: dict[Part, int]
    modalities: dict[str, dict[Part, int]]


def make_sites(
    plan: RunPlan,
    folder: Path,
    *,
    data: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[MadeSite]:
    """Load a plan's dataset, deal the patients out, and write one folder per hospital.

    Args:
        plan: The plan; its `[simulation]` tells the hospitals.
        folder: Where to write; new or empty.
        data: Where the dataset lies, unless it comes with a package or is made up.
        say: Is told what is being done, before it is done.

    Raises:
        PlanError: If the plan has no simulated hospitals.
        DataError: If the dataset is not there, or does not suffice for the hospitals.
    """
    if plan.simulation is None:
        raise PlanError(
            f"Plan '{plan.name}' has no [simulation], so it does not say which hospitals to play. Add one, "
            "or choose one of the shipped plans (python -m simulations plans)."
        )
    say(f"Reading dataset '{plan.simulation.data.kind}'")
    cohort = load_dataset(plan.simulation, data=data)
    dealt = deal(cohort, plan.simulation, task=plan.task, split=plan.split, seed=plan.seed)
    return write_sites(plan, dealt, folder, say=say)


def write_sites(
    plan: RunPlan, dealt: Mapping[str, Cohort], folder: Path, *, say: Callable[[str], None] = lambda _: None
) -> list[MadeSite]:
    """Write the folders of hospitals whose patients are known: each gets a key, and all are on a roster.

    Args:
        plan: What is to be run.
        dealt: The patients of every hospital, by its name, each in one part of the split.
        folder: Where to; new or empty.
        say: Is told what is being done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made: list[MadeSite] = []
    governors = [SigningKey.make() for _ in range(GOVERNORS)]  # nobody keeps them: the roster stays as it is
    public_keys = [one.public for one in governors]
    keys = {name: SigningKey.make() for name in dealt}
    for number, (name, own) in enumerate(dealt.items()):
        say(f"Writing hospital '{name}', {number + 1} of {len(dealt)}")
        where = folder / f"site-{number}"
        _write_site(name, own, where, plan=plan, governance_keys=public_keys)
        keys[name].save(where / "identity.key")
        made.append(_describe(name, own, f"site-{number}"))
    _write_roster(keys, folder, consortium=plan.name, governors=governors)
    (folder / "plan.toml").write_text(tomli_w.dumps(plan.to_plain()), encoding="utf-8")
    described = [site.to_plain() for site in made]
    (folder / "hospitals.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    return made


def load_dataset(simulation: Simulation, *, data: Path | None) -> Cohort:
    """Read the patients that a plan deals out.

    Args:
        simulation: The plan's simulation.
        data: Folder of the user's copy; a folder `shared/data` beside the project if not given.

    Raises:
        DataError: If the data need a folder and there is none.
    """
    if isinstance(simulation.data, Breast | Pbc | Synthetic):
        return simulation.data.load()
    folder = data or USUAL_DATA
    if not folder.is_dir():
        raise DataError(
            f"Dataset '{simulation.data.kind}' does not come with this project, and there is no folder "
            "to look for it. Name the folder with --data DIR.",
            local=str(folder),
        )
    return simulation.data.load(folder)


def _write_site(
    name: str, cohort: Cohort, folder: Path, *, plan: RunPlan, governance_keys: Sequence[str]
) -> None:
    wide = any(schema.num_features > MANY_FEATURES for schema in cohort.schemas.values())
    tables = write_tables(
        cohort, folder, outcome=outcome_columns(plan.task), file_format="parquet" if wide else "csv"
    )
    identity = Identity(
        key="identity.key",
        roster="../roster.json",
        governance_keys=tuple(governance_keys),
        governance_needed=len(governance_keys),
    )
    kinds = tuple(sorted({one.encoder.kind for one in plan.modalities.values()}))
    rules = SiteRules(encoders=kinds) if CALLS_CODE in kinds else SiteRules()
    site = SiteFile(name=name, data=tables, device="cpu", threads=1, identity=identity, rules=rules)
    (folder / "site.toml").write_text(tomli_w.dumps(site.to_plain()), encoding="utf-8")


def _write_roster(
    keys: Mapping[str, SigningKey], folder: Path, *, consortium: str, governors: Sequence[SigningKey]
) -> None:
    """Write who plays along, signed, and who signed."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)  # clocks of other time zones are fine
    entries = tuple(
        RosterEntry(site=name, public_key=key.public, valid_from=yesterday, valid_until=yesterday + VALID_FOR)
        for name, key in keys.items()
    )
    signed = SignedRoster(roster=Roster(consortium=consortium, entries=entries))
    for governor in governors:
        signed = signed.signed_with(governor)
    signed.save(folder / "roster.json")
    public = tuple(governor.public for governor in governors)
    (folder / "governance.json").write_bytes(Governance(keys=public, needed=len(public)).to_json())


def outcome_columns(task: Task) -> OutcomeColumns:
    """How outcomes of a task are written into a table of patients."""
    if isinstance(task, Classification):
        return ClassOutcome(classes=task.classes)
    if isinstance(task, MultiLabel):
        return LabelsOutcome(columns=task.labels)
    return SurvivalOutcome()


def _describe(name: str, cohort: Cohort, folder: str) -> MadeSite:
    parts = {part: cohort.part(part) for part in get_args(Part)}
    held = {
        modality: {part: len(own.holding(modality)) for part, own in parts.items()}
        for modality in cohort.modalities
    }
    return MadeSite(
        site=name,
        folder=folder,
        patients={part: len(own) for part, own in parts.items()},
        modalities={modality: counts for modality, counts in held.items() if any(counts.values())},
    )
