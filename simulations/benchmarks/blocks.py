"""Our own methods in one trial: blocks, the best of them, their ensemble, merges and fused models."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lego_core.assemble import Ingredients, build_merge
from lego_core.block import LegoBlock
from lego_core.errors import DataError
from lego_core.fuse import FuseOrder
from lego_core.gram import GramStatistics
from lego_core.merge import LegoMerge
from lego_core.plan import Merging, RunPlan
from lego_core.records import Cohort, collate
from lego_core.tasks import Score, Task
from lego_core.training import fit_block
from simulations.benchmarks.methods import BEST_BLOCK, ENSEMBLE, block_name
from simulations.benchmarks.models import Model, fused_model, said, untrained_block
from simulations.benchmarks.protocol import Trial, unpaired
from simulations.benchmarks.rules import RULES
from simulations.benchmarks.store import Answer, Record, Store


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """One trial, and where its results are kept.

    Args:
        plan: How blocks are built and trained.
        trial: The patients.
        task: What is predicted, as the training patients decided.
        store: Where results are kept.
    """

    plan: RunPlan
    trial: Trial
    task: Task
    store: Store

    def answer(self, method: str) -> Answer:
        """Train and predict, or predict with what is trained already.

        Raises:
            DataError: If a block that is needed failed.
        """
        family, _, name = method.partition(":")
        match family:
            case "block":
                return self._train_block(name)
            case _ if method == BEST_BLOCK:
                return self._best_block()
            case _ if method == ENSEMBLE:
                return self._ensemble()
            case "merge":
                return self._merge(name)
            case _:
                return self._fuse("weave" if name == "weave" else "stack")

    def _train_block(self, modality: str) -> Answer:
        """Train on the patients whose one modality is this one; predict for all who hold it."""
        started = time.process_time()
        trial, task = self.trial, self.task
        train, validation = (self._dealt(part, modality) for part in (trial.train, trial.validation))
        block = self._untrained(modality)
        settings = self.plan.training_of(modality)
        fit_block(block, train, validation, task=task, settings=settings, seed=trial.seed, device="cpu")
        self.store.save_weights(trial.place, block_name(modality), block.state_dict())
        return self._predicted(block, started=started)

    def _best_block(self) -> Answer:
        """The block that does best on the validation patients who hold its modality.

        Blocks are stopped by unpaired patients; the choice among them may use everybody.
        """
        names = self._trained()
        scores = {name: self._validation_score(name) for name in names}
        best = max(names, key=lambda name: (scores[name].pairs > 0, scores[name].value))
        test, validation = self.store.predictions(self.trial.place, block_name(best))
        parameters = self.store.record(self.trial.place, block_name(best)).parameters
        record = Record(seconds=self._seconds_of_blocks(), parameters=parameters, chosen=best)
        return Answer(test, validation, record)

    def _validation_score(self, modality: str) -> Score:
        """How a block does on the validation patients who hold its modality."""
        _, predictions = self.store.predictions(self.trial.place, block_name(modality))
        outcomes = collate(self.trial.validation.records, {}).outcomes
        spoken = ~predictions.isnan().any(dim=1)
        return self.task.score(predictions[spoken], outcomes[spoken])

    def _ensemble(self) -> Answer:
        """The mean of what the blocks of a patient's modalities say."""
        names = self._trained()
        kept = [self.store.predictions(self.trial.place, block_name(name)) for name in names]
        test, validation = (torch.stack(part).nanmean(dim=0) for part in zip(*kept, strict=True))
        records = [self.store.record(self.trial.place, block_name(name)) for name in names]
        parameters = sum(record.parameters for record in records)
        return Answer(test, validation, Record(seconds=self._seconds_of_blocks(), parameters=parameters))

    def _merge(self, rule: str) -> Answer:
        blocks = self._blocks()
        started = time.process_time()
        plan = self.plan.model_copy(update={"merging": RULES[rule]})
        merged = build_merge(plan, blocks, self._ingredients(blocks, plan.merging))
        return self._predicted(merged, started=started, before=self._seconds_of_blocks())

    def _fuse(self, order: FuseOrder) -> Answer:
        """Two epochs on all training patients who hold several modalities."""
        blocks = self._blocks()
        started = time.process_time()
        paired = self.trial.train.with_several(self.plan.modalities)
        fused = fused_model(
            order,
            blocks,
            self._ingredients(blocks, self.plan.merging),
            paired,
            plan=self.plan,
            task=self.task,
            seed=self.trial.seed,
        )
        return self._predicted(fused, started=started, before=self._seconds_of_blocks())

    def _dealt(self, part: Cohort, modality: str) -> Cohort:
        """The patients whose one modality is this one."""
        return unpaired(part, task=self.task, seed=self.trial.seed).only(modality)

    def _ingredients(self, blocks: Sequence[LegoBlock], merging: Merging) -> Ingredients:
        """The common start; if asked for, Gram matrices of the patients each block was trained on,
        and its score on the patients who decide which block is best.
        """
        grams = {
            block.modality: GramStatistics.of(block, self._dealt(self.trial.train, block.modality))
            for block in (blocks if merging.needs_grams else [])
        }
        scores = {
            block.modality: self._validation_score(block.modality).value
            for block in (blocks if merging.needs_scores else [])
        }
        return Ingredients(self._untrained(blocks[0].modality).trunk.state_dict(), grams, scores)

    def _untrained(self, modality: str) -> LegoBlock:
        return untrained_block(modality, plan=self.plan, trial=self.trial, task=self.task)

    def _blocks(self) -> list[LegoBlock]:
        blocks = [self._untrained(name) for name in self._trained()]
        for block in blocks:
            block.load_state_dict(self.store.weights(self.trial.place, block_name(block.modality)))
        return blocks

    def _trained(self) -> Sequence[str]:
        """All modalities, whose blocks were trained before.

        Raises:
            DataError: If one of them failed.
        """
        for modality in self.plan.modalities:
            failed = self.store.record(self.trial.place, block_name(modality)).failed
            if failed:
                raise DataError(f"Its block '{modality}' failed. {failed}")
        return list(self.plan.modalities)

    def _seconds_of_blocks(self) -> float:
        places = [(self.trial.place, block_name(name)) for name in self.plan.modalities]
        return sum(self.store.record(*place).seconds for place in places)

    def _predicted(self, model: Model, *, started: float, before: float = 0.0) -> Answer:
        parts = (self.trial.test, self.trial.validation)
        test, validation = (said(model, part, task=self.task) for part in parts)
        used = [weight for weight in model.parameters() if weight.requires_grad]
        every = sum(weight.numel() for weight in used)
        parameters = model.num_parameters if isinstance(model, LegoMerge) else every
        return Answer(
            test, validation, Record(seconds=before + time.process_time() - started, parameters=parameters)
        )
