"""A weight merge applied tensor by tensor, with what the method asks for beside each tensor."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.block import LegoBlock
from lego_core.errors import MergeError
from lego_core.gram import GramStatistics
from lego_core.merging import WeightMerge
from lego_core.trunk import Trunk

Named = Mapping[str, Tensor]


def merge_tensors(
    method: WeightMerge,
    blocks: Sequence[Named],
    weights: Float[Tensor, "M"],
    *,
    start: Named,
    grams: Sequence[Named],
) -> dict[str, Tensor]:
    """Merge every tensor of several blocks.

    Args:
        blocks: The tensors of each block: the same names in each.
        weights: How much each block counts.
        start: The same tensors in the common start; empty if the method needs none.
        grams: Per block, Gram matrices by the name of their linear layer; empty likewise.
    """
    merged = {}
    for name in blocks[0]:
        layer = name.removesuffix(".weight")
        fed = [own[layer] for own in grams if layer in own]
        merged[name] = method.combine(
            torch.stack([tensors[name] for tensors in blocks]),
            weights / weights.sum(),
            start=start.get(name),
            grams=torch.stack(fed) if fed else None,
        )
    return merged


def check_ingredients(
    method: WeightMerge,
    blocks: Iterable[LegoBlock],
    *,
    start: Named | None,
    grams: Mapping[str, GramStatistics] | None,
) -> None:
    """Refuse a merge that lacks what its method works with.

    Raises:
        MergeError: If the start or a block's Gram matrices are needed and absent, or do not
            fit the blocks.
    """
    for block in blocks:
        if method.needs_start:
            _check_start(method, block.trunk, start)
        if method.needs_grams:
            _check_grams(method, block, (grams or {}).get(block.modality))


def _check_start(method: WeightMerge, trunk: Trunk, start: Named | None) -> None:
    if start is None:
        raise MergeError(
            f"Merge method '{method.kind}' works on changes from the weights that all blocks began with, and "
            "no start was given. Give `start`: the state of a trunk as it was before training."
        )
    for name, weight in trunk.named_parameters():
        if name not in start or start[name].shape != weight.shape:
            raise MergeError(
                f"The common start does not fit the blocks: it has no tensor '{name}' of shape "
                f"{tuple(weight.shape)}. Give the start of blocks of the same latent contract and task."
            )


def _check_grams(method: WeightMerge, block: LegoBlock, grams: GramStatistics | None) -> None:
    if grams is None:
        raise MergeError(
            f"Merge method '{method.kind}' asks what the linear layers were fed, and there are no Gram "
            f"matrices of block '{block.modality}'. Give `grams`: for every modality "
            "GramStatistics.of(block, its patients)."
        )
    wanted, given = GramStatistics.of_nobody(block.trunk).sizes, grams.sizes
    if given != wanted:
        raise MergeError(
            f"The Gram matrices given for block '{block.modality}' are those of layers {given}, and its "
            f"layers are {wanted}. Take them from the block that is merged."
        )


@final
class NamedTensors(nn.Module):
    """Constants by name, which travel with a model's state and follow it to its device."""

    def __init__(self, tensors: Named) -> None:
        super().__init__()
        for name, tensor in tensors.items():  # PyTorch keeps the dot for modules
            self.register_buffer(name.replace(".", "/"), tensor.detach().clone().float())

    def by_name(self) -> dict[str, Tensor]:
        """The tensors."""
        return {name.replace("/", "."): tensor for name, tensor in self.named_buffers()}
