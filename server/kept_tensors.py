"""The tensors of a checkpoint: what they are called, and how they are read."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from lego_core.assemble import Ingredients
from lego_core.block import LegoBlock
from lego_core.gram import GramStatistics
from lego_core.statistics import Normalisation
from server.agreement import Agreed
from server.checkpoint import States
from server.learner import Learner


def kept_tensors(
    agreed: Agreed | None, ingredients: Ingredients | None, learners: Sequence[Learner]
) -> States:
    """All tensors that the rest of a run depends on, by a name that no model has, but for models."""
    tensors: dict[str, Mapping[str, Tensor]] = {}
    for name, one in (agreed.normalisations if agreed else {}).items():
        tensors[f"{name}@normalisation"] = {"mean": one.mean, "stddev": one.stddev}
    for name, grams in (ingredients.grams if ingredients else {}).items():
        tensors[f"{name}@grams"] = grams.to_tensors()
    for learner in learners:
        tensors |= learner.to_tensors()
    return tensors


def kept_normalisations(tensors: States) -> dict[str, Normalisation]:
    """The normalisations among them, by modality."""
    return {
        name: Normalisation(mean=one["mean"], stddev=one["stddev"])
        for name, one in _about("normalisation", tensors).items()
    }


def kept_grams(tensors: States, blocks: Sequence[LegoBlock]) -> dict[str, GramStatistics]:
    """What the layers of the blocks were fed, by modality."""
    kept = _about("grams", tensors)
    return {
        block.modality: GramStatistics.from_tensors(
            kept[block.modality], like=GramStatistics.of_nobody(block.trunk)
        )
        for block in blocks
        if block.modality in kept
    }


def _about(what: str, tensors: States) -> dict[str, Mapping[str, Tensor]]:
    return {name.removesuffix(f"@{what}"): one for name, one in tensors.items() if name.endswith(f"@{what}")}
