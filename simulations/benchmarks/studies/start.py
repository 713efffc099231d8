"""Does a common start decide whether blocks merge, and does a seed phase help further?"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal, Self, final

from matplotlib.figure import Figure
from torch import Tensor

from lego_core.aggregation import ServerState
from lego_core.block import LegoBlock
from lego_core.statistics import FeatureStatistics
from lego_core.training import Trainer
from lego_core.update import BlockUpdate, to_named, to_vector
from simulations.benchmarks.studies._arms import Arm, Comparison, Measured, conditions_of
from simulations.benchmarks.studies._contract import AbstractStudy, Steps
from simulations.benchmarks.studies._figures import curves
from simulations.benchmarks.studies._lab import Lab
from simulations.benchmarks.studies._results import StudyResults

OWN, COMMON = "own start", "common start"
BEST, ENSEMBLE, MERGE = "best block", "ensemble", "merge"


@final
class Start(AbstractStudy):
    """Trunks that begin apart, together, or after some rounds in which they were averaged.

    The seed phase is played as the server plays it (`server/rounds.py`), one site per modality:
    every block trains for the plan's local epochs, then all trunks become one, as the plan
    aggregates. Its epochs are taken from those that follow, so that all blocks train as long; a
    seed phase after which the plan has no epoch left is left out.

    Args:
        seed_rounds: Lengths of the seed phase; 0 is the common start alone.

    Source:
        Sung et al. "An Empirical Study of Multimodal Model Merging." Findings of EMNLP 2023.
        arXiv:2304.14933.
    """

    kind: Literal["start"] = "start"
    question: ClassVar[str] = "Must blocks have a common start, and does a seed phase help?"
    dataset: ClassVar[str] = "icu2012"
    seed_rounds: tuple[int, ...] = (0, 1, 2, 4, 8)

    def quick(self) -> Self:
        """No long seed phases."""
        return self.model_copy(update={"seed_rounds": (0, 1, 2)})

    def steps(self) -> Steps:
        """Own start, then every length of the seed phase."""
        seeded = {_named(rounds): partial(_after_rounds, rounds=rounds) for rounds in self.seed_rounds}
        return {OWN: _from_own_starts, **seeded}

    def comparisons(self, arms: Sequence[Arm], /) -> list[Comparison]:
        """Common against own start; the merge against the best block; every seed phase against none."""
        longer = [name for name in conditions_of(arms) if name not in {OWN, COMMON}]
        return [
            Comparison("the common start", "own starts", ((Arm(COMMON, method), Arm(OWN, method)),), where)
            for where, method in {"for the merge": MERGE, "for the best block": BEST}.items()
        ] + [
            *(
                Comparison(
                    "the merge", "the best block", ((Arm(step, MERGE), Arm(step, BEST)),), f"from {the}"
                )
                for step, the in {OWN: "own starts", COMMON: "a common start"}.items()
            ),
            *(
                Comparison(
                    "the merge", "that without", ((Arm(step, MERGE), Arm(COMMON, MERGE)),), f"with {step}"
                )
                for step in longer
            ),
        ]

    def figure(self, results: StudyResults) -> Figure:
        """A curve per method."""
        return curves(results, along="how the trunks began")


def seed_phase(lab: Lab, rounds: int) -> list[LegoBlock]:
    """Blocks whose trunks were trained on all modalities in turn, and are equal."""
    plan = lab.plan
    blocks = [lab.untrained(modality) for modality in lab.modalities]
    patients = [lab.dealt(lab.trial.train, modality).marked("train") for modality in lab.modalities]
    for block, own in zip(blocks, patients, strict=True):
        block.normalise_with(FeatureStatistics.of(own, block.modality).normalisation())
    state = ServerState()
    for number in range(rounds):
        begun = to_vector(_trunk(blocks[0]))
        updates: list[BlockUpdate] = []
        for block, own in zip(blocks, patients, strict=True):
            settings = plan.training_of(block.modality)
            settings = settings.model_copy(update={"epochs": plan.rounds.local_epochs})
            pull = plan.aggregation.proximal_strength
            trainer = Trainer(block, task=lab.task, settings=settings, device="cpu", proximal_strength=pull)
            trainer.fit(own, seed=lab.trial.seed + number)
            updates.append(BlockUpdate((to_vector(_trunk(block)) - begun) * len(own), float(len(own))))
        together, state = plan.aggregation.aggregate(begun, updates, state=state)
        for block in blocks:
            block.trunk.load_state_dict(to_named(together, _trunk(block)))
    return blocks


def _trunk(block: LegoBlock) -> dict[str, Tensor]:
    return block.trunk.state_dict()


def own_starts(lab: Lab) -> list[LegoBlock]:
    """Blocks with the encoders of the common start, and trunks of as many seeds as there are."""
    blocks = [lab.untrained(modality) for modality in lab.modalities]
    for number, block in enumerate(blocks):
        elsewhere = replace(lab, trial=replace(lab.trial, seed=lab.trial.seed + 1 + number))
        block.trunk = elsewhere.untrained(block.modality).trunk
    return blocks


def _from_own_starts(lab: Lab) -> Iterable[Measured]:
    return _measured(lab, own_starts(lab), epochs=lab.plan.training.epochs, condition=OWN)


def _after_rounds(lab: Lab, *, rounds: int) -> Iterable[Measured]:
    left = lab.plan.training.epochs - rounds * lab.plan.rounds.local_epochs
    if left > 0:
        yield from _measured(lab, seed_phase(lab, rounds), epochs=left, condition=_named(rounds))


def _measured(lab: Lab, blocks: list[LegoBlock], *, epochs: int, condition: str) -> Iterable[Measured]:
    """Train blocks from this start, and merge them as the plan does."""
    start = copy.deepcopy(blocks[0].trunk.state_dict())
    team = [lab.train(block.modality, block=block, epochs=epochs) for block in blocks]
    yield Measured(Arm(condition, BEST), lab.said(lab.best_of(team).block))
    yield Measured(Arm(condition, ENSEMBLE), lab.ensemble(team))
    yield Measured(Arm(condition, MERGE), lab.said(lab.merged(team, start=start)))


def _named(rounds: int) -> str:
    return COMMON if rounds == 0 else "1 seed round" if rounds == 1 else f"{rounds} seed rounds"
