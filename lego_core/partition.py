"""Deal one cohort out to several hospitals, for rehearsals on one machine.

Every patient goes to one hospital and keeps what that hospital measures; who measures
nothing that the patient has cannot take the patient. Nothing depends on the order of any
file: draws are hashes of the seed and the patient's identifier.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lego_core.errors import DataError
from lego_core.records import Cohort, PatientRecord, collate
from lego_core.simulation import HospitalGroup, Simulation
from lego_core.split import Split, split_by_patient
from lego_core.tasks import Task


@dataclass(frozen=True, eq=False)
class _Lot:
    """What is dealt in one piece: a patient, or all patients of a real hospital."""

    records: tuple[PatientRecord, ...]
    stratum: int
    draw: str

    def fitting(self, group: HospitalGroup) -> int:
        """How many of its patients have anything that this group measures."""
        return sum(_fits(record, group) for record in self.records)


def deal(cohort: Cohort, simulation: Simulation, *, task: Task, split: Split, seed: int) -> dict[str, Cohort]:
    """Deal a cohort out to a plan's hospitals.

    Patients who have nothing that their hospital measures are not among its patients. Dealt
    by patient, these are the patients who fit no group; dealt by hospital, also those whose
    real hospital plays one that measures other things.

    Args:
        cohort: The patients.
        simulation: The hospitals.
        task: Tells the strata of outcomes, of which every hospital and part gets its share.
        split: The plan's shares of parts, for groups that have none of their own.
        seed: Another seed gives another deal.

    Returns:
        The patients of every hospital by its name, each in one part of the split.

    Raises:
        DataError: If the data lack a modality, hold no outcomes of the task, do not tell
            hospitals apart, or leave a hospital without patients.
    """
    _check_modalities(cohort, simulation)
    task.check_outcomes(collate(cohort.records, {}).outcomes)
    lots = _lots(cohort, task=task, seed=seed)
    if simulation.by == "hospital":
        lots = _whole_hospitals(lots, simulation, seed=seed)
    dealt: dict[str, Cohort] = {}
    for group, own in zip(simulation.groups, _deal_to_groups(lots, simulation), strict=True):
        for name, hand in zip(group.names, _deal_within(own, group, simulation), strict=True):
            patients = cohort.keep(r for lot in hand for r in lot.records if _fits(r, group))
            if not len(patients):
                raise DataError(
                    f"Hospital '{name}' gets none of the {len(cohort)} patients. Plan fewer hospitals, or a "
                    "larger share for its group."
                )
            parted = split_by_patient(patients, group.split or split, task=task, seed=seed)
            dealt[name] = _as_measured(parted, group)
    return dealt


def _check_modalities(cohort: Cohort, simulation: Simulation) -> None:
    unknown = {name for group in simulation.groups for name in group.modalities} - cohort.schemas.keys()
    if unknown:
        raise DataError(
            f"The plan's hospitals hold {sorted(unknown)}, and the data have {list(cohort.modalities)}. "
            "Name modalities of the data in simulation.groups."
        )


def _fits(record: PatientRecord, group: HospitalGroup) -> bool:
    return any(name in record.modalities for name in group.modalities)


def _draw(name: str, seed: int) -> str:
    return hashlib.sha256(f"deal/{seed}/{name}".encode()).hexdigest()


def _lots(cohort: Cohort, *, task: Task, seed: int) -> list[_Lot]:
    """Every patient as a lot, shuffled within its stratum of outcomes."""
    strata = task.strata(collate(cohort.records, {}).outcomes).tolist()
    lots = (
        _Lot((record,), stratum, _draw(record.patient_id, seed))
        for record, stratum in zip(cohort.records, strata, strict=True)
    )
    return sorted(lots, key=lambda lot: (lot.stratum, lot.draw))


def _whole_hospitals(lots: Sequence[_Lot], simulation: Simulation, *, seed: int) -> list[_Lot]:
    """The patients of every real hospital as one lot, the largest first."""
    homes: dict[str, list[PatientRecord]] = {}
    for record in (record for lot in lots for record in lot.records):
        homes.setdefault(record.hospital or "", []).append(record)
    if "" in homes or len(homes) < simulation.num_hospitals:
        raise DataError(
            f"The plan makes {simulation.num_hospitals} sites of whole hospitals; the data name "
            f"{len(homes.keys() - {''})} hospitals, and {len(homes.get('', ()))} patients have none. Set "
            "simulation.by to 'patient', plan fewer sites, or give every patient a hospital."
        )
    whole = (_Lot(tuple(records), 0, _draw(name, seed)) for name, records in homes.items())
    return sorted(whole, key=lambda lot: (-len(lot.records), lot.draw))


def _deal_to_groups(lots: Sequence[_Lot], simulation: Simulation) -> list[list[_Lot]]:
    groups = simulation.groups
    sizes = {lot: [lot.fitting(group) for group in groups] for lot in lots}
    fitting = [lot for lot in lots if any(sizes[lot])]
    if simulation.by == "patient":  # who has few places to go to goes first
        fitting.sort(key=lambda lot: (lot.stratum, sum(sizes[lot])))
    return _deal_out(
        fitting,
        [group.share for group in groups],
        needs=[group.hospitals for group in groups],
        size=lambda lot, hand: sizes[lot][hand],
    )


def _deal_within(lots: Sequence[_Lot], group: HospitalGroup, simulation: Simulation) -> list[list[_Lot]]:
    last = max(group.hospitals - 1, 1)
    shares = [1 + simulation.size_skew * (1 - place / last) for place in range(group.hospitals)]
    in_turn = sorted(lots, key=lambda lot: lot.draw)
    chosen = set(in_turn[: round(simulation.label_skew * len(lots))])
    skewed = _cut(sorted(chosen, key=lambda lot: (lot.stratum, lot.draw)), shares)
    rest = [lot for lot in lots if lot not in chosen]
    even = _deal_out(rest, shares, needs=[1] * len(shares), size=lambda lot, _: lot.fitting(group))
    return [one + other for one, other in zip(skewed, even, strict=True)]


def _deal_out(
    lots: Sequence[_Lot],
    shares: Sequence[float],
    *,
    needs: Sequence[int],
    size: Callable[[_Lot, int], int],
) -> list[list[_Lot]]:
    """Give every lot to the hand that has least for its share, and no hand fewer lots than it needs.

    Counting half of the lot at hand makes this Webster's rule, which keeps every stretch of
    the lots close to the shares, not only all of them together.
    """
    hands: list[list[_Lot]] = [[] for _ in shares]
    held = [0.0] * len(shares)
    for dealt, lot in enumerate(lots):
        lacking = [max(need - len(hand), 0) for need, hand in zip(needs, hands, strict=True)]
        options = [hand for hand in range(len(shares)) if size(lot, hand)]
        if sum(lacking) >= len(lots) - dealt:
            options = [hand for hand in options if lacking[hand]] or options
        best = min(options, key=lambda hand: (held[hand] + size(lot, hand) / 2) / shares[hand])
        hands[best].append(lot)
        held[best] += size(lot, best)
    return hands


def _cut(lots: Sequence[_Lot], shares: Sequence[float]) -> list[list[_Lot]]:
    """Cut a row of lots into stretches in proportion to the shares."""
    ends = [round(sum(shares[: place + 1]) / sum(shares) * len(lots)) for place in range(len(shares))]
    return [list(lots[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _as_measured(cohort: Cohort, group: HospitalGroup) -> Cohort:
    """Take away what the hospital does not measure; its test patients may keep everything."""
    kept = {name: schema for name, schema in cohort.schemas.items() if name in group.modalities}
    records = tuple(
        record
        if group.complete_test and record.part == "test"
        else replace(record, modalities={n: m for n, m in record.modalities.items() if n in kept})
        for record in cohort.records
    )
    return Cohort(records, cohort.schemas if group.complete_test else kept)
