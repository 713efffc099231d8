"""Who gains from a federation of real hospitals?"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self, final

from pydantic import Field

from lego_core.errors import DataError
from lego_core.records import Cohort, PatientRecord
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured, conditions_of
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._federation import federated
from simulations.benchmarks.studies._lab import Lab, Trained

FEDERATED, POOLED, ALONE = "federated", "pooled", "alone"
MERGE, BLOCK = "merge", "block of "
QUICK_ROUNDS = 5


@final
class Hospitals(AbstractStudy):
    """The same blocks trained by real hospitals together, on all their patients pooled, and by each alone.

    A block is trained on all patients who hold its modality, and sees nothing else of them. Small
    hospitals are a site together. The federation is the plan's: its rounds, local epochs and
    aggregation, the weights that it keeps, its means and spreads from federated sums; without a
    seed phase and without protection. Pooled and alone, blocks are trained as the plan says. A
    hospital alone has means, spreads and validation patients of its own, and merges its own
    blocks; without validation patients it trains all epochs. All are judged on the same test
    patients, those of all hospitals, since no hospital has enough.

    Args:
        smallest_site: Training patients that a hospital needs to be a site by itself.
        smallest_alone: Patients of all parts that a hospital needs to be tried alone.
        at_most: Only so many of the largest hospitals are tried alone.
        most_rounds: At most so many rounds; the plan's number if not given.
        margin: A difference to pooled training that would not matter.
    """

    kind: Literal["hospitals"] = "hospitals"
    question: ClassVar[str] = "Who gains from a federation of real hospitals?"
    dataset: ClassVar[str] = "tcga-brca"
    smallest_site: int = Field(default=10, ge=1)
    smallest_alone: int = Field(default=15, ge=1)
    at_most: int | None = Field(default=None, ge=1)
    most_rounds: int | None = Field(default=None, ge=1)
    margin: float = Field(default=0.01, ge=0)

    def quick(self) -> Self:
        """Few rounds, and only the two largest hospitals alone."""
        return self.model_copy(update={"at_most": 2, "most_rounds": QUICK_ROUNDS})

    def steps(self) -> Steps:
        """One way to train after the other."""
        return {FEDERATED: self._federated, POOLED: _pooled, ALONE: self._each_alone}

    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        """Federated against pooled for every model; against the hospitals, on average and one by one."""
        conditions = conditions_of(arms)
        alone = [arm for arm in arms if arm.method.startswith(_alone(""))]
        asked = [
            Comparison(
                "federated training",
                "pooled training",
                ((Arm(condition, FEDERATED), Arm(condition, POOLED)),),
                f"for the {condition}",
                margin=self.margin,
            )
            for condition in conditions
        ]
        for condition in conditions:
            pairs = tuple((Arm(condition, FEDERATED), arm) for arm in alone if arm.condition == condition)
            if pairs:
                where = f"for the {condition}"
                asked.append(Comparison("federated training", "a hospital alone, on average", pairs, where))
        asked += [
            Comparison(
                "the federated merge",
                "that of a hospital alone",
                ((Arm(MERGE, FEDERATED), arm),),
                f"for {arm.method.removeprefix(_alone(''))}",
            )
            for arm in alone
            if arm.condition == MERGE
        ]
        return asked

    def _federated(self, lab: Lab) -> Iterable[Measured]:
        dealt = sites(lab.trial.train, smallest=self.smallest_site)
        rounds = min(lab.plan.rounds.rounds, self.most_rounds or lab.plan.rounds.rounds)
        team = [federated(lab, modality, dealt, rounds=rounds) for modality in lab.modalities]
        return _measured(lab, team, method=FEDERATED)

    def _each_alone(self, lab: Lab) -> Iterable[Measured]:
        for hospital in self._large(lab):
            alone = _alone_at(lab, hospital)
            yield from _measured(alone, _trained(alone), method=_alone(hospital))

    def _large(self, lab: Lab) -> list[str]:
        """Hospitals that are tried alone, the largest first."""
        trial = lab.trial
        sizes = {name: len(own) for name, own in by_hospital(trial.train).items()}
        for part in (trial.validation, trial.test):
            for name, own in by_hospital(part).items():
                sizes[name] = sizes.get(name, 0) + len(own)
        ordered = sorted(sizes, key=lambda name: (-sizes[name], name))
        return [name for name in ordered if sizes[name] >= self.smallest_alone][: self.at_most]


def by_hospital(cohort: Cohort) -> dict[str, Cohort]:
    """The patients of every real hospital, by its name.

    Raises:
        DataError: If patients have no hospital.
    """
    homes: dict[str, list[PatientRecord]] = {}
    for record in cohort.records:
        homes.setdefault(record.hospital or "", []).append(record)
    if "" in homes:
        raise DataError(
            f"{len(homes[''])} of {len(cohort)} patients have no hospital, and the question is about real "
            "ones. Name a dataset that tells where patients were treated, or the column that does."
        )
    return {name: cohort.keep(homes[name]) for name in sorted(homes)}


def sites(cohort: Cohort, *, smallest: int) -> list[Cohort]:
    """Whole hospitals as sites of at least so many patients, the largest first; small ones share a site.

    Small hospitals fill one site after the other, the largest of them first; what is left over
    joins the last one.
    """
    largest_first = sorted(by_hospital(cohort).values(), key=len, reverse=True)
    dealt: list[list[PatientRecord]] = []
    filling: list[PatientRecord] = []
    for own in largest_first:
        filling += own.records
        if len(filling) >= smallest:
            dealt.append(filling)
            filling = []
    if filling:
        dealt = [*dealt[:-1], [*(dealt[-1] if dealt else []), *filling]]
    return [cohort.keep(records) for records in dealt]


def _pooled(lab: Lab) -> Iterable[Measured]:
    return _measured(lab, _trained(lab), method=POOLED)


def _trained(lab: Lab) -> list[Trained]:
    """Blocks of all modalities that somebody here holds, each trained on everybody who holds it."""
    train, validation = lab.trial.train, lab.trial.validation
    held = [modality for modality in lab.modalities if len(train.holding(modality))]
    return [lab.train(modality, patients=train, validation=validation) for modality in held]


def _alone_at(lab: Lab, hospital: str) -> Lab:
    """The same trial with the training and validation patients of one hospital only."""
    train, validation = (
        part.keep(record for record in part.records if record.hospital == hospital)
        for part in (lab.trial.train, lab.trial.validation)
    )
    return replace(lab, trial=replace(lab.trial, train=train, validation=validation))


def _measured(lab: Lab, team: Sequence[Trained], *, method: str) -> Iterable[Measured]:
    """What each block says, and their merge as the plan makes it."""
    for one in team:
        yield Measured(Arm(f"{BLOCK}{one.modality}", method), lab.said(one.block))
    yield Measured(Arm(MERGE, method), lab.said(lab.merged(team)))


def _alone(hospital: str) -> str:
    return f"{ALONE}: {hospital}"
