"""Who may be a member, who is public, and who is a member of which model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from lego_core.block import LegoBlock
from lego_core.datasets import Synthetic
from lego_core.datasets._synthetic_modalities import SyntheticModality, SyntheticTable
from lego_core.datasets._synthetic_outcomes import SyntheticClass
from lego_core.errors import DataError
from lego_core.plan import RunPlan
from lego_core.records import Cohort
from lego_core.statistics import FeatureStatistics
from lego_core.tasks import Task
from simulations.benchmarks.default_plan import default_plan
from simulations.benchmarks.subject import Source, open_subject

PUBLIC_SHARE = 0.2
FEWEST = 60  # patients; with fewer, no interval would say anything
OWN = "synthetic"  # the made-up patients that come with the examination


@dataclass(frozen=True, slots=True, eq=False)
class Patients:
    """The patients of an examination, all of one draw.

    Args:
        plan: How blocks are built and trained.
        task: What is predicted, as the public patients decided.
        pool: Who may be a member; for every model, half of them are.
        public: Patients who train none of the models that are attacked. Means, spreads and base
            rates are theirs, so that what is attacked is the training alone.
    """

    plan: RunPlan
    task: Task
    pool: Cohort
    public: Cohort

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the plan's order."""
        return tuple(self.plan.modalities)

    def untrained(self, modality: str) -> LegoBlock:
        """The block of a modality with the common start."""
        block = LegoBlock(
            modality,
            self.plan.modalities[modality].encoder,
            self.pool.schemas[modality],
            contract=self.plan.latent,
            num_outputs=self.task.num_outputs,
            base_logits=self.task.base_logits,
            seed=self.plan.seed,
        )
        block.normalise_with(FeatureStatistics.of(self.public, modality).normalisation())
        return block


def gather(source: Source, *, most: int, rounds: int, seed: int) -> Patients:
    """Draw the patients of an examination at random from a dataset.

    Args:
        source: A dataset as for `bench quality`, or `synthetic` for made-up patients.
        most: How many patients are taken, at most.
        rounds: How many rounds a training has, at most; the plan may have fewer.
        seed: Another seed takes others.

    Raises:
        DataError: If fewer than sixty patients hold every modality.
    """
    if source.dataset == OWN and source.plan is None:
        plan, cohort = _made_up(most)
    else:
        subject = open_subject(source)
        plan, cohort = subject.plan, subject.cohort
    complete = cohort.holding(*plan.modalities)
    if len(complete) < FEWEST:
        raise DataError(
            f"{len(complete)} of {len(cohort)} patients hold every modality, and an examination needs "
            f"{FEWEST}. Choose a dataset with more of them."
        )
    order = np.random.default_rng(seed).permutation(len(complete))[:most]
    chosen = [complete.records[place] for place in order]
    cut = round(PUBLIC_SHARE * len(chosen))
    public, pool = (complete.keep(part).marked("train") for part in (chosen[:cut], chosen[cut:]))
    fewer = plan.rounds.model_copy(update={"rounds": min(plan.rounds.rounds, rounds)})
    plan = plan.model_copy(update={"rounds": fewer})
    return Patients(plan, plan.task.agree(plan.task.summarise(public)), pool, public)


def halves(patients: int, *, pairs: int, seed: int) -> Bool[np.ndarray, "M N"]:
    """Who is a member of which model: pairs of models that share no patient and leave nobody out.

    Whatever pair is set aside, every patient is a member of just half of the other models. The
    numbers therefore tell an attacker nothing about the pair that is attacked.

    Args:
        patients: Number of patients N.
        pairs: Half the number of models M; models 2k and 2k + 1 are a pair.
        seed: Another seed deals otherwise.
    """
    rng = np.random.default_rng(seed)
    member = np.zeros((2 * pairs, patients), dtype=bool)
    for pair in range(pairs):
        half = rng.permutation(patients)[: patients // 2]
        member[2 * pair, half] = True
        member[2 * pair + 1] = ~member[2 * pair]
    return member


def deal(cohort: Cohort, sites: int) -> Sequence[Cohort]:
    """The patients of each site: every so many-th, of a cohort in random order."""
    return [cohort.keep(cohort.records[place::sites]) for place in range(sites)]


def _made_up(patients: int) -> tuple[RunPlan, Cohort]:
    tables: dict[str, SyntheticModality] = {
        "clinical": SyntheticTable(),
        "genes": SyntheticTable(features=100),
    }
    dataset = Synthetic(patients=patients, outcome=SyntheticClass(), modalities=tables)
    cohort = dataset.load()
    return default_plan(OWN, dataset, cohort), cohort
