"""A model that was rehearsed, attacked with the patients of its own hospitals, and the result put beside it.

Those who trained it are members, the test patients are strangers. A real hospital could do the same
with its own; nobody else holds the patients that it takes.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from client.site import read_site_file
from lego_core.bundle import ModelBundle
from lego_core.errors import BundleError, DataError, RunError
from lego_core.manifest import signers_of
from lego_core.privacy import PatientDp
from lego_core.records import Cohort
from lego_core.report import render_page
from lego_core.run_report import Examined
from lego_core.signing import SigningKey
from lego_core.split import split_by_patient
from lego_core.tasks import Task
from simulations.benchmarks.command import command, say
from simulations.benchmarks.privacy.counting import Estimate, area_within
from simulations.benchmarks.privacy.findings import membership_row
from simulations.benchmarks.privacy.membership import losses_of
from simulations.benchmarks.store import write_whole

FEWEST = 10  # members and strangers of a hospital; fewer tell nothing


@dataclass(frozen=True, slots=True, eq=False)
class Hospital:
    """One hospital of a rehearsal.

    Args:
        patients: All of them, in the features that were agreed on, each in one part of the split.
        trains_blocks: Whether its training patients taught blocks; those of hospitals with paired
            patients may have taught the fused model only.
    """

    patients: Cohort
    trains_blocks: bool


def run_rehearsal(folder: Path, *, key: Path | None = None) -> None:
    """Attack the model of a rehearsal, as a command, and write the result into its bundle and report.

    Args:
        folder: Of the rehearsal.
        key: The file of the private key that vouches for the bundle as it is then. A signed bundle is not
            touched without one.
    """
    with command() as console:
        signers = signers_of(folder / "bundle")
        if signers and key is None:
            raise BundleError(
                f"The bundle of '{folder.name}' bears {len(signers)} signatures, and none would hold once "
                "the attacks stand in its report. Nothing was computed or changed. Give --key FILE, a "
                "private key to sign it anew, or attack a copy of the folder without its signature.json."
            )
        signer = SigningKey.load(key) if key else None
        bundle = ModelBundle.load(folder / "bundle", trusted_keys=signers)
        rows, notes = examine_bundle(bundle, hospitals_of(folder, bundle))
        report = bundle.report.model_copy(update={"self_examination": tuple(rows)})
        dataclasses.replace(bundle, report=report).save(folder / "bundle", key=signer)
        write_whole(folder / "report.html", render_page(report))
        say(console, [*(row.sentence for row in rows), *notes])
        say(console, [f"Written into {folder / 'bundle'} and {folder / 'report.html'}."])
        say(console, _signatures_now(signer, before=signers))


def hospitals_of(folder: Path, bundle: ModelBundle) -> list[Hospital]:
    """Read the hospitals of a rehearsal, with the split that they trained with.

    Raises:
        RunError: If the folder holds no hospitals.
    """
    paths = sorted(folder.glob("sites/site-*/site.toml"))
    if not paths:
        raise RunError(
            f"The folder '{folder.name}' has no sites/site-N/site.toml, so nobody can say who trained the "
            "model. Give the folder of a rehearsal (python -m simulations run PLAN)."
        )
    return [_hospital(path, bundle) for path in paths]


def examine_bundle(bundle: ModelBundle, hospitals: Sequence[Hospital]) -> tuple[list[Examined], list[str]]:
    """Attack the merge on every modality alone, and the fused model if there is one.

    Args:
        bundle: The model.
        hospitals: Whose patients trained it.

    Returns:
        The attacks, and a sentence for each one that could not be made.
    """
    rows, notes = [], []
    for name, model, sides in _targets(bundle, hospitals):
        try:
            rows.append(_attack(model, sides, name=name, bundle=bundle))
        except DataError as error:
            notes.append(error.public)
    return rows, notes


def _signatures_now(signer: SigningKey | None, *, before: Sequence[str]) -> Iterator[str]:
    """Who vouches for the bundle now, and who has to be asked again."""
    if signer is not None:
        yield f"The bundle is signed by {signer.public}."
        yield from (
            f"The signature of {other} fell away with the change; ask for it again ('fedlego sign')."
            for other in before
            if other != signer.public
        )


Sides = list[tuple[Cohort, Cohort]]


def _targets(bundle: ModelBundle, hospitals: Sequence[Hospital]) -> Iterator[tuple[str, nn.Module, Sides]]:
    """What is attacked, with the members and the strangers of each hospital."""
    modalities = bundle.models.merged.modalities
    for modality in modalities:
        sides = [
            (
                one.patients.part("train") if one.trains_blocks else one.patients.keep([]),
                one.patients.part("test"),
            )
            for one in hospitals
        ]
        alone = [tuple(side.only(modality) for side in pair) for pair in sides]
        yield f"the merge, shown {modality} alone", bundle.models.merged, [(a, b) for a, b in alone]
    if bundle.models.fused is not None:
        paired = [one.patients.with_several(modalities) for one in hospitals]
        yield "the fused model", bundle.models.fused, [(p.part("train"), p.part("test")) for p in paired]


def _attack(model: nn.Module, sides: Sides, *, name: str, bundle: ModelBundle) -> Examined:
    """A threshold on the loss, within hospitals where there are both sides, and across them otherwise."""
    within = [pair for pair in sides if min(len(side) for side in pair) >= FEWEST]
    compared = within or [_pooled(sides)]
    members, strangers = (sum(len(pair[side]) for pair in compared) for side in (0, 1))
    if min(members, strangers) < FEWEST:
        raise DataError(
            f"Nothing is said of {name}: {members} patients trained it and {strangers} are test patients, "
            f"and {FEWEST} of each are the least."
        )
    estimate = _areas(model, compared, task=bundle.agreement.task, seed=bundle.plan.seed)
    privacy = bundle.plan.privacy
    claimed = privacy.epsilon if isinstance(privacy, PatientDp) else None
    row = membership_row(estimate, attack="loss threshold", model=name, plan=privacy.kind, claimed=claimed)
    how = (
        f" Compared were {members} members and {strangers} strangers, within each hospital."
        if within
        else f" Compared were {members} members and {strangers} strangers of other hospitals, since no "
        "hospital has both: what differs between hospitals looks like membership here."
    )
    return row.model_copy(update={"sentence": row.sentence + how})


def _areas(model: nn.Module, sides: Sides, *, task: Task, seed: int) -> Estimate:
    groups = []
    for members, strangers in sides:
        losses = [losses_of(model, side, task=task) for side in (members, strangers)]
        who = np.repeat([True, False], [len(members), len(strangers)])
        groups.append((-np.concatenate(losses), who))
    return area_within(groups, seed=seed)


def _pooled(sides: Sides) -> tuple[Cohort, Cohort]:
    """All members and all strangers; patients of two hospitals may have the same identifier."""
    first = sides[0][0]
    members, strangers = (
        first.keep(
            dataclasses.replace(record, patient_id=f"{place}/{record.patient_id}")
            for place, pair in enumerate(sides)
            for record in pair[side].records
        )
        for side in (0, 1)
    )
    return members, strangers


def _hospital(path: Path, bundle: ModelBundle) -> Hospital:
    file, plan = read_site_file(path), bundle.plan
    cohort = file.data.load(path.parent)
    parted = split_by_patient(cohort, file.split or plan.split, task=plan.task, seed=plan.seed)
    held = [name for name in bundle.agreement.schemas if name in parted.schemas]
    for name in held:
        parted = parted.with_features(name, bundle.agreement.schemas[name].features)
    is_paired = len(parted.part("train").with_several(held)) > 0
    schemas = bundle.agreement.schemas
    return Hospital(
        Cohort(parted.only(*held).records, schemas), plan.rounds.paired_sites_train_blocks or not is_paired
    )
