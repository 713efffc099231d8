"""What studies work with in one trial: train blocks, merge them, let models speak of the test patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from lego_core.assemble import Ingredients, build_merge
from lego_core.block import LegoBlock
from lego_core.evaluation import score
from lego_core.fuse import FuseOrder, LegoFuse
from lego_core.gram import GramStatistics
from lego_core.merge import LegoMerge
from lego_core.plan import Merging, RunPlan
from lego_core.records import Cohort
from lego_core.tasks import Task
from lego_core.training import fit_block
from lego_core.trunk import LatentContract
from simulations.benchmarks.models import Model, fused_model, said, untrained_block
from simulations.benchmarks.protocol import Trial, unpaired


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A trained block, and the patients it was trained on."""

    block: LegoBlock
    patients: Cohort

    @property
    def modality(self) -> str:
        """Its modality."""
        return self.block.modality


@dataclass(frozen=True, slots=True, eq=False)
class Lab:
    """One trial of a study.

    Args:
        plan: How blocks are built, trained and merged.
        trial: The patients.
        task: What is predicted, as the training patients decided.
    """

    plan: RunPlan
    trial: Trial
    task: Task

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the plan's order."""
        return tuple(self.plan.modalities)

    def with_latent(self, latent: LatentContract) -> "Lab":
        """The same trial under another latent contract."""
        return self.with_plan(self.plan.model_copy(update={"latent": latent}))

    def with_plan(self, plan: RunPlan) -> "Lab":
        """The same trial under another plan for the same task."""
        return replace(self, plan=plan)

    def dealt(self, part: Cohort, modality: str) -> Cohort:
        """The patients of a part whose one modality is this one, if each contributes one only."""
        return unpaired(part, task=self.task, seed=self.trial.seed).only(modality)

    def untrained(self, modality: str) -> LegoBlock:
        """The block of a modality with the trial's common start."""
        return untrained_block(modality, plan=self.plan, trial=self.trial, task=self.task)

    def train(
        self,
        modality: str,
        *,
        block: LegoBlock | None = None,
        patients: Cohort | None = None,
        validation: Cohort | None = None,
        epochs: int | None = None,
    ) -> Trained:
        """Train one block to the end, as the plan says.

        Args:
            modality: Whose.
            block: Where training begins; the common start if not given.
            patients: Who trains it; those dealt to the modality if not given.
            validation: Who stops it; likewise.
            epochs: At most so many; the plan's number if not given.
        """
        patients = self.dealt(self.trial.train, modality) if patients is None else patients.only(modality)
        validation = self.dealt(self.trial.validation, modality) if validation is None else validation
        block = block or self.untrained(modality)
        settings = self.plan.training_of(modality)
        if epochs is not None:
            settings = settings.model_copy(update={"epochs": epochs})
        fit_block(
            block, patients, validation, task=self.task, settings=settings, seed=self.trial.seed, device="cpu"
        )
        return Trained(block, patients)

    def best_of(self, team: Sequence[Trained]) -> Trained:
        """The one that does best on the validation patients who hold its modality."""
        return max(team, key=self._on_validation)

    def merged(
        self,
        team: Sequence[Trained],
        *,
        merging: Merging | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> LegoMerge:
        """Merge blocks.

        Args:
            team: The blocks.
            merging: How; as the plan says if not given.
            start: The trunk they began with; the trial's common start if not given.
        """
        merging = merging or self.plan.merging
        plan = self.plan.model_copy(update={"merging": merging})
        return build_merge(plan, [one.block for one in team], self._ingredients(team, merging, start))

    def fused(self, team: Sequence[Trained], order: FuseOrder, *, patients: Cohort) -> LegoFuse:
        """Fuse copies of blocks and train them for two epochs, as `bench quality` does.

        Args:
            team: The blocks.
            order: `stack` or `weave`.
            patients: Who trains them; nobody leaves them as they are.
        """
        blocks, ingredients = [one.block for one in team], self._ingredients(team, self.plan.merging)
        seed = self.trial.seed
        return fused_model(order, blocks, ingredients, patients, plan=self.plan, task=self.task, seed=seed)

    def said(self, model: Model, *, shown: Sequence[str] | None = None) -> Float[Tensor, "B Q"]:
        """Predictions for the test patients; of those without what the model reads, nothing is said.

        Args:
            model: Any model of ours.
            shown: Hide every modality but these.

        Raises:
            DataError: If a prediction is not a finite number.
        """
        return said(model, self.trial.test, task=self.task, shown=shown)

    def ensemble(self, team: Sequence[Trained], *, shown: Sequence[str] | None = None) -> Tensor:
        """The mean of what the blocks of a patient's modalities say; as `said`."""
        chosen = [one for one in team if shown is None or one.modality in shown]
        return torch.stack([self.said(one.block) for one in chosen]).nanmean(dim=0)

    def _ingredients(
        self, team: Sequence[Trained], merging: Merging, start: Mapping[str, Tensor] | None = None
    ) -> Ingredients:
        feeding = team if merging.needs_grams else ()
        scored = team if merging.needs_scores else ()
        return Ingredients(
            start or self.untrained(team[0].modality).trunk.state_dict(),
            {one.modality: GramStatistics.of(one.block, one.patients) for one in feeding},
            {one.modality: self._on_validation(one)[1] for one in scored},
        )

    def _on_validation(self, one: Trained) -> tuple[bool, float]:
        reached = score(one.block, self.trial.validation.only(one.modality), task=self.task)
        return reached.pairs > 0, reached.value
