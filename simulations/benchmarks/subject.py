"""What is benchmarked: patients, and the plan that says how blocks of them are trained."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from lego_core.errors import DataError, PlanError
from lego_core.plan import RunPlan, shipped_plans
from lego_core.records import Cohort
from lego_core.simulation import Simulation
from simulations.benchmarks.default_plan import default_plan
from simulations.benchmarks.description import open_description
from simulations.make_sites import load_dataset


@dataclass(frozen=True, slots=True)
class Source:
    """Where a benchmark's patients and settings come from.

    Args:
        dataset: Name of a shipped dataset, or path of a TOML file that describes one.
        plan: Name of another shipped plan, or path of one, for task, encoders and training.
        data: Folder of the data.
    """

    dataset: str
    plan: str | None = None
    data: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A dataset ready to be benchmarked.

    Args:
        name: What tables call it.
        plan: Task, encoders, latent contract, training, merging and fuse settings.
        cohort: The patients, with the plan's modalities.
        notes: What a reader should know, a sentence each.
    """

    name: str
    plan: RunPlan
    cohort: Cohort
    notes: tuple[str, ...]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the plan's order."""
        return tuple(self.plan.modalities)

    def fingerprint(self) -> str:
        """A digest of every patient, outcome and value."""
        digest = hashlib.sha256()
        for record in self.cohort.records:
            digest.update(f"{record.patient_id}{record.outcome.values}".encode())
            for name in sorted(record.modalities):
                digest.update(name.encode() + record.modalities[name].values.numpy().tobytes())
        return digest.hexdigest()[:16]


@cache
def open_subject(source: Source) -> Subject:
    """Read the patients and settle the plan.

    Raises:
        PlanError: If there is no such dataset or plan, or the plan does not fit the data.
        DataError: If the data cannot be read, or hold nothing to learn from.
    """
    path = Path(source.dataset)
    if path.suffix == ".toml":
        described = open_description(path, folder=source.data or path.parent)
        cohort, notes = described.cohort, described.notes
        plan = _read_plan(source.plan) if source.plan else default_plan(path.stem, described.dataset, cohort)
    else:
        shipped, simulation = _shipped(source.dataset)
        plan = _read_plan(source.plan) if source.plan else shipped
        cohort, notes = load_dataset(simulation, data=source.data), ()
    return _settled(path.stem, plan, cohort, notes=notes)


def shipped_datasets() -> list[str]:
    """Names of the datasets that a shipped plan brings."""
    return [name for name, path in shipped_plans().items() if RunPlan.load(path).simulation is not None]


def _shipped(name: str) -> tuple[RunPlan, Simulation]:
    plan = RunPlan.shipped(name) if name in shipped_plans() else None
    if plan is None or plan.simulation is None:
        raise PlanError(
            f"There is no dataset '{name}'. The shipped ones are {shipped_datasets()}; or give the path of a "
            "TOML file that describes yours."
        )
    return plan, plan.simulation


def _read_plan(name: str) -> RunPlan:
    return RunPlan.load(Path(name)) if Path(name).suffix == ".toml" else RunPlan.shipped(name)


def _settled(name: str, plan: RunPlan, cohort: Cohort, *, notes: tuple[str, ...]) -> Subject:
    unknown = [modality for modality in plan.modalities if modality not in cohort.schemas]
    if unknown:
        raise PlanError(
            f"The plan has the modalities {list(plan.modalities)}, and the data lack {unknown}: they have "
            f"{list(cohort.modalities)}. Name another plan with --plan."
        )
    constant = [modality for modality in plan.modalities if _is_constant(cohort, modality)]
    kept = {modality: own for modality, own in plan.modalities.items() if modality not in constant}
    if not kept:
        raise DataError(
            f"No column of any modality varies between patients ({constant}), so there is nothing to learn "
            "from. Check which columns the description names."
        )
    chosen = cohort.only(*kept)
    found = [*notes, *(_constant_note(modality) for modality in constant)]
    if left_out := len(cohort) - len(chosen):
        found.append(f"{left_out} of {len(cohort)} patients hold none of the modalities and are left out.")
    if any(record.part for record in chosen.records):
        found.append("The data prescribe a split; it is not used, since every repeat makes its own.")
    return Subject(name, plan.model_copy(update={"modalities": kept}), chosen, tuple(found))


def _constant_note(modality: str) -> str:
    return f"Modality '{modality}' is left out: no column of it varies between patients."


def _is_constant(cohort: Cohort, modality: str) -> bool:
    holders = cohort.holding(modality).records
    if not holders:
        return True
    values = torch.cat([record.modalities[modality].values for record in holders])
    lowest = values.nan_to_num(nan=torch.inf).amin(dim=0)
    highest = values.nan_to_num(nan=-torch.inf).amax(dim=0)
    return not bool((highest > lowest).any())
