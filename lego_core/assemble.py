"""The models that a plan and an agreement describe, built the same way at server, sites and readers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lego_core.block import LegoBlock
from lego_core.evaluation import ModelSet
from lego_core.fuse import LegoFuse
from lego_core.gram import GramStatistics
from lego_core.merge import LegoMerge
from lego_core.plan import RunPlan
from lego_core.protocol import Agreement


def build_block(plan: RunPlan, agreement: Agreement, modality: str) -> LegoBlock:
    """The untrained block of one modality, with the run's common start."""
    return LegoBlock(
        modality,
        plan.modalities[modality].encoder,
        agreement.schemas[modality],
        contract=plan.latent,
        num_outputs=agreement.task.num_outputs,
        base_logits=agreement.task.base_logits,
        seed=plan.seed,
    )


@dataclass(frozen=True)
class Ingredients:
    """What merge methods may work with besides the blocks themselves.

    Args:
        start: The state of the trunk with which all blocks began.
        grams: What the linear layers of each block are fed, by modality; empty if nobody asks.
        scores: The main metric of each block on validation patients, by modality; likewise.
    """

    start: Mapping[str, Tensor]
    grams: Mapping[str, GramStatistics]
    scores: Mapping[str, float]

    @classmethod
    def of_untrained(cls, blocks: Sequence[LegoBlock]) -> "Ingredients":
        """Stand-ins for weights that are about to be loaded: the start, and sums and scores of nobody."""
        nobody = {block.modality: GramStatistics.of_nobody(block.trunk) for block in blocks}
        return cls(blocks[0].trunk.state_dict(), nobody, dict.fromkeys(nobody, 0.0))


def build_merge(
    plan: RunPlan, blocks: Sequence[LegoBlock], ingredients: Ingredients | None = None
) -> LegoMerge:
    """The blocks, merged as the plan says.

    Raises:
        MergeError: If a merge method of the plan needs ingredients and there are none.
    """
    return LegoMerge(
        blocks,
        latents=plan.merging.latents,
        heads=plan.merging.heads,
        modality_weights=_modality_weights(plan, blocks, ingredients),
        trunk=plan.merging.trunk,
        apart=plan.merging.apart,
        start=ingredients and ingredients.start,
        grams=ingredients and ingredients.grams,
    )


def build_fuse(
    plan: RunPlan, blocks: Sequence[LegoBlock], ingredients: Ingredients | None = None
) -> LegoFuse:
    """The blocks, each with its own trunk, ready to be fused as the plan says.

    Raises:
        MergeError: As `build_merge`.
    """
    return LegoFuse(
        blocks,
        order=plan.fuse.order if plan.fuse else "stack",
        heads=plan.merging.heads,
        modality_weights=_modality_weights(plan, blocks, ingredients),
        start=ingredients and ingredients.start,
        grams=ingredients and ingredients.grams,
    )


def build_models(
    plan: RunPlan, agreement: Agreement, modalities: Sequence[str], *, with_fused: bool
) -> ModelSet:
    """Untrained models of these modalities, for weights that are about to be loaded."""
    blocks = [build_block(plan, agreement, name) for name in modalities]
    stand_ins = Ingredients.of_untrained(blocks)
    fused = build_fuse(plan, blocks, stand_ins) if with_fused else None
    return ModelSet(build_merge(plan, blocks, stand_ins), fused)


def _modality_weights(
    plan: RunPlan, blocks: Sequence[LegoBlock], ingredients: Ingredients | None
) -> dict[str, float] | None:
    return plan.merging.weights_of(
        [block.modality for block in blocks],
        scores=ingredients.scores if ingredients else {},
        chance=plan.task.chance,
    )
