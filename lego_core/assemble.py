"""The models that a plan and an agreement describe, built the same way at server, sites and readers."""

from collections.abc import Iterable, Sequence

from lego_core.block import LegoBlock
from lego_core.evaluation import ModelSet
from lego_core.fuse import LegoFuse
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
        seed=plan.seed,
    )


def build_merge(plan: RunPlan, blocks: Sequence[LegoBlock]) -> LegoMerge:
    """The blocks, merged as the plan says."""
    return LegoMerge(
        blocks,
        latents=plan.merging.latents,
        heads=plan.merging.heads,
        modality_weights=plan.merging.weights_of([block.modality for block in blocks]),
    )


def build_fuse(plan: RunPlan, blocks: Iterable[LegoBlock]) -> LegoFuse:
    """The blocks, ready to be fused as the plan says."""
    order = plan.fuse.order if plan.fuse else "stack"
    return LegoFuse(blocks, order=order, heads=plan.merging.heads)


def build_models(
    plan: RunPlan, agreement: Agreement, modalities: Sequence[str], *, with_fused: bool
) -> ModelSet:
    """Untrained models of these modalities, for weights that are about to be loaded."""
    blocks = [build_block(plan, agreement, name) for name in modalities]
    return ModelSet(build_merge(plan, blocks), build_fuse(plan, blocks) if with_fused else None)
