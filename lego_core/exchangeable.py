"""Which tensors of a model travel, and which of them are aggregated together.

A *part* is the unit of aggregation and of privacy: the sites that contribute to one part
contribute to all of it. A block has two parts, its trunk (which a seed phase aggregates over
all modalities) and its own; a fused model has one per block, and its head.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lego_core.block import LegoBlock
from lego_core.fuse import LegoFuse

AGREED = ("feature_mean", "feature_stddev")  # the same at all sites by agreement, never trained


def exchanged(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model that sites train and a server aggregates, by name.

    They share memory with the model. Left out: what is frozen, what the sites agreed on, and
    whole numbers (the step counter of a BatchNorm, which has no meaning across sites).
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    running = {
        name: buffer
        for name, buffer in model.named_buffers()
        if buffer.is_floating_point() and not name.endswith(AGREED)
    }
    return {name: tensor.detach() for name, tensor in (trained | running).items()}


def parts(model: LegoBlock | LegoFuse) -> dict[str, tuple[str, ...]]:
    """The names of the exchanged tensors, part by part."""
    names = sorted(exchanged(model))
    if isinstance(model, LegoBlock):
        trunk = tuple(name for name in names if name.startswith("trunk."))
        return {"trunk": trunk, "own": tuple(name for name in names if name not in trunk)}
    starts = {modality: f"blocks.{modality}." for modality in model.modalities} | {"head": "head."}
    return {part: tuple(name for name in names if name.startswith(start)) for part, start in starts.items()}


def declared(
    model: LegoBlock | LegoFuse, dtype: torch.dtype = torch.float32
) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """All tensors that may leave a site that trains this model, where updates travel one by one.

    Names, shapes and types are known before any training.

    Args:
        model: The model.
        dtype: The type in which they travel.
    """
    return {name: (tensor.shape, dtype) for name, tensor in exchanged(model).items()}


def rounded(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Tensors as they travel: those of float32 in another type, the others as they are.

    Guarantees:
        In bfloat16 every number within its range is off by 2^-8 of its size at most.
    """
    return {
        name: tensor.to(dtype) if tensor.dtype == torch.float32 else tensor
        for name, tensor in tensors.items()
    }
