"""All attacks on all protections, one after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from lego_core.block import LegoBlock
from lego_core.records import Cohort
from lego_core.run_report import Examined
from lego_core.training import Trainer, predict_logits
from simulations.benchmarks.privacy.canaries import audit
from simulations.benchmarks.privacy.counting import area, over_patients, rate_at_few_alarms
from simulations.benchmarks.privacy.federation import SITES, merge, round_settings, train_block
from simulations.benchmarks.privacy.findings import alarms_row, canary_row, inversion_row, membership_row
from simulations.benchmarks.privacy.inversion import invert, readable, steps_of
from simulations.benchmarks.privacy.membership import Losses, likelihood_ratio, loss_threshold, losses_of
from simulations.benchmarks.privacy.patients import Patients, halves
from simulations.benchmarks.privacy.protections import AbstractProtection

ATTACKS = {"loss threshold": loss_threshold, "likelihood ratio": likelihood_ratio}
MERGE = "the merge"
LATER_EPOCHS = 20
APART = 10_000  # between the seeds of models, so that no two share one


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is done.

    Args:
        patients: Most patients, a fifth of whom are public.
        pairs: Pairs of models; all but one of them are the shadow models of the one.
        trials: How often updates are read.
        largest: Most patients of a site whose update is read.
        canaries: For each training.
        runs: Trainings with canaries.
        rounds: Most rounds of a training.
    """

    patients: int = 500
    pairs: int = 9
    trials: int = 10
    largest: int = 32
    canaries: int = 100
    runs: int = 4
    rounds: int = 1000


QUICK = Extent(patients=240, pairs=3, trials=3, largest=4, canaries=80, runs=1, rounds=10)


@dataclass(frozen=True, slots=True, eq=False)
class Examination:
    """The attacks on one protection.

    Args:
        patients: Who trains, and how.
        protection: What is attacked.
        extent: How much is done.
        seed: Another seed deals otherwise; the same for every protection, so that they compare.
        said: Where to say how far it is.
    """

    patients: Patients
    protection: AbstractProtection
    extent: Extent
    seed: int
    said: Callable[[str], None]

    def rows(self) -> tuple[list[Examined], dict[str, float]]:
        """All attacks, and the metric of the models they were made on."""
        membership, utility = self._membership()
        self.said(f"{self.protection.name}: membership done")
        inversion = list(self._inversion())
        self.said(f"{self.protection.name}: inversion done")
        return [*membership, *inversion, self._canaries()], utility

    def _membership(self) -> tuple[list[Examined], dict[str, float]]:
        pool, task = self.patients.pool, self.patients.task
        member = halves(len(pool), pairs=self.extent.pairs, seed=self.seed)
        losses: dict[str, list[np.ndarray]] = {}
        scores: dict[str, list[float]] = {}
        for number, who in enumerate(member):
            for name, model in self._models(who, number).items():
                losses.setdefault(name, []).append(losses_of(model, pool, task=task))
                strangers = pool.keep(r for r, is_in in zip(pool.records, who, strict=True) if not is_in)
                scores.setdefault(name, []).append(self._score(model, strangers))
        rows = [
            row
            for name, each in losses.items()
            for row in self._membership_rows(name, Losses(np.array(each), member))
        ]
        return rows, {name: float(np.mean(values)) for name, values in scores.items()}

    def _membership_rows(self, model: str, seen: Losses) -> Iterator[Examined]:
        claimed = self._claimed(len(self.patients.pool) // 2, blocks=self._blocks_of(model))
        for attack, rule in ATTACKS.items():
            said = rule(seen)
            named = {"attack": attack, "model": model, "plan": self.protection.name, "claimed": claimed}
            yield membership_row(over_patients(area, said, seen.member, seed=self.seed), **named)
            found = over_patients(rate_at_few_alarms, said, seen.member, seed=self.seed)
            yield alarms_row(found, **named)

    def _inversion(self) -> Iterator[Examined]:
        for modality in self.patients.modalities:
            first, later = self.patients.untrained(modality), self._trained_on_public(modality)
            if not readable(first):
                self.said(f"{modality}: no row of values goes into its first layer, so no update is read.")
                continue
            for when, block in (("first", first), ("later", later)):
                for step in steps_of(self.extent.largest, len(self.patients.pool)):
                    if step.steps > 1 and when == "later":
                        continue
                    found = invert(
                        block, step, patients=self.patients, protection=self.protection,
                        trials=self.extent.trials, seed=self.seed,
                    )  # fmt: skip
                    what = f"block {modality} in a {when} round, {step.words}"
                    yield inversion_row(found, what=what, plan=self.protection.name, claimed=None)

    def _canaries(self) -> Examined:
        """Audit the block with the most features: where most can be learned by heart."""
        schemas = self.patients.pool.schemas
        modality = max(self.patients.modalities, key=lambda name: schemas[name].num_features)
        half = len(self.patients.pool) // 2 + self.extent.canaries // 2
        promised = self.protection.promised(
            half // SITES, settings=round_settings(self.patients, modality),
            rounds=self.patients.plan.rounds.rounds, blocks=1,
        )  # fmt: skip
        found = audit(
            modality, patients=self.patients, protection=self.protection, canaries=self.extent.canaries,
            runs=self.extent.runs, delta=promised.delta if promised else 0.0, seed=self.seed,
        )  # fmt: skip
        claimed = promised and promised.epsilon
        return canary_row(found, model=f"block {modality}", plan=self.protection.name, claimed=claimed)

    def _models(self, who: np.ndarray, number: int) -> dict[str, nn.Module]:
        """The blocks that these members train, and their merge."""
        seed = self.seed + APART * (number + 1)
        order = np.random.default_rng(seed).permutation(np.flatnonzero(who)).tolist()
        members = self.patients.pool.keep(self.patients.pool.records[row] for row in order)
        blocks = [
            train_block(name, members, patients=self.patients, protection=self.protection, seed=seed)
            for name in self.patients.modalities
        ]
        named: dict[str, nn.Module] = {f"block {block.modality}": block for block in blocks}
        return named | ({MERGE: merge(blocks, self.patients)} if len(blocks) > 1 else {})

    def _trained_on_public(self, modality: str) -> LegoBlock:
        """Weights as they may be in the middle of a run, from patients whom nobody attacks."""
        block = self.patients.untrained(modality)
        settings = round_settings(self.patients, modality).model_copy(update={"epochs": LATER_EPOCHS})
        public = self.patients.public.only(modality)
        Trainer(block, task=self.patients.task, settings=settings, device="cpu").fit(public, seed=self.seed)
        return block

    def _score(self, model: nn.Module, cohort: Cohort) -> float:
        logits, outcomes = predict_logits(model, cohort)
        return self.patients.task.score(self.patients.task.predict(logits), outcomes).value

    def _blocks_of(self, model: str) -> int:
        return len(self.patients.modalities) if model == MERGE else 1

    def _claimed(self, members: int, *, blocks: int) -> float | None:
        promised = self.protection.promised(
            members // SITES, settings=round_settings(self.patients, self.patients.modalities[0]),
            rounds=self.patients.plan.rounds.rounds, blocks=blocks,
        )  # fmt: skip
        return promised and promised.epsilon


def examine(
    patients: Patients,
    protections: Sequence[AbstractProtection],
    *,
    extent: Extent,
    seed: int,
    said: Callable[[str], None],
) -> tuple[list[Examined], dict[str, dict[str, float]]]:
    """Attack every protection; gives the rows, and by protection the metric of every model."""
    rows: list[Examined] = []
    utility: dict[str, dict[str, float]] = {}
    for protection in protections:
        own, utility[protection.name] = Examination(patients, protection, extent, seed, said).rows()
        rows += own
    return rows, utility
