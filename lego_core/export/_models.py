"""The models of a bundle as graphs: named tensors of raw measurements in, predictions out."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lego_core.block import LegoBlock
from lego_core.errors import ExportError
from lego_core.export._blocks import RealBlock, read_head
from lego_core.export._inputs import read_inputs
from lego_core.export._latents import combine
from lego_core.export._pair import Pair
from lego_core.fuse import LegoFuse, as_if_held
from lego_core.merge import LegoMerge
from lego_core.records import Inputs, ModalitySchema
from lego_core.tasks import Task
from lego_core.training import LARGEST_LOGIT

MOST_MODALITIES = 12  # a head for each of their subsets lies in the graph


class ExportForm(nn.Module):
    """A model of a bundle, which takes a tensor per input and gives predictions.

    A patient of whom nothing was measured that the model reads gets NaN.

    Args:
        model: What predicts from inputs of several modalities.
        schemas: What is given, in order.
        task: What is predicted.
    """

    def __init__(self, model: nn.Module, schemas: Mapping[str, ModalitySchema], task: Task) -> None:
        super().__init__()
        self.model = model
        self.schemas = dict(schemas)
        self.task = task

    def forward(self, *tensors: Tensor) -> Float[Tensor, "B Q"]:
        """Predict for every patient."""
        inputs = read_inputs(tensors, self.schemas)
        said = self.model({name: as_if_held(one) for name, one in inputs.items()}, _held(inputs))
        anything = _held(inputs).any(dim=0)
        return torch.where(anything[:, None], said, torch.nan)


class OneBlock(nn.Module):
    """A block alone."""

    def __init__(self, block: LegoBlock, task: Task) -> None:
        super().__init__()
        self.block = RealBlock(block, {})
        self.task = task

    def forward(self, inputs: Mapping[str, Inputs], held: Tensor) -> Tensor:  # noqa: ARG002 - as all models
        """Predict from its modality."""
        [own] = inputs.values()
        return self.task.predict(within_reason(self.block.logits(own)))


class Merged(nn.Module):
    """The merge: a head for every subset of modalities is merged beforehand, and looked up by patient."""

    def __init__(self, merge: LegoMerge, task: Task) -> None:
        super().__init__()
        if len(merge.modalities) > MOST_MODALITIES:
            raise ExportError(
                f"The merge has {len(merge.modalities)} modalities, and its graph would hold a head for each "
                f"of their subsets; {MOST_MODALITIES} are the most. Export the blocks (--modality)."
            )
        self.task, self.latents = task, merge.latents
        shared = merge.shared.by_name()
        self.blocks = nn.ModuleDict({name: RealBlock(block, shared) for name, block in merge.blocks.items()})
        self.weights = nn.Buffer(torch.tensor([merge.modality_weights[name] for name in merge.modalities]))
        heads = _heads_of_subsets(merge)
        self.norm_weight, self.norm_bias = nn.Buffer(heads["norm.weight"]), nn.Buffer(heads["norm.bias"])
        self.weight, self.bias = nn.Buffer(heads["linear.weight"]), nn.Buffer(heads["linear.bias"])
        self.eps = merge.blocks.first.trunk.head.norm.eps
        self.codes = nn.Buffer(2 ** torch.arange(len(merge.modalities)))

    def forward(self, inputs: Mapping[str, Inputs], held: Tensor) -> Tensor:
        """Predict for every patient from what it holds."""
        latents = [_block(self.blocks, name).latent(own) for name, own in inputs.items()]
        stacked = Pair(torch.stack([one.real for one in latents]), torch.stack([one.imag for one in latents]))
        weights = held * self.weights[:, None]
        merged = combine(self.latents, stacked, weights / weights.sum(dim=0))
        return self.task.predict(within_reason(self._read(merged.real.mean(dim=1), held)))

    def _read(self, latent: Tensor, held: Tensor) -> Tensor:
        subset = (held.long() * self.codes[:, None]).sum(dim=0)
        normed = functional.layer_norm(latent, latent.shape[-1:], eps=self.eps)
        normed = normed * self.norm_weight[subset] + self.norm_bias[subset]
        return (self.weight[subset] @ normed.unsqueeze(-1)).squeeze(-1) + self.bias[subset]


class Fused(nn.Module):
    """The fused model; everybody passes every block, and keeps what comes of the own ones."""

    def __init__(self, fuse: LegoFuse, task: Task) -> None:
        super().__init__()
        self.task, self.head = task, fuse.head
        self.blocks = nn.ModuleDict({name: RealBlock(block, {}) for name, block in fuse.blocks.items()})
        self.passes = fuse.passes(fuse.blocks.first.contract.depth)

    def forward(self, inputs: Mapping[str, Inputs], held: Tensor) -> Tensor:
        """Predict for every patient from what it holds."""
        has = {name: row[:, None, None] for name, row in zip(inputs, held, strict=True)}
        memories = {name: _block(self.blocks, name).remember(own) for name, own in inputs.items()}
        first: Tensor = next(iter(has.values()))
        started = torch.zeros_like(first)
        blank = torch.zeros_like(_block(self.blocks, next(iter(inputs))).trunk.start.real) * first
        latent_freq = Pair(blank, blank)
        for name, pass_index in self.passes:
            trunk = _block(self.blocks, name).trunk
            own = latent_freq.where(started, trunk.start)
            own = trunk.read(own, memories[name], pass_index=pass_index)
            latent_freq = own.where(has[name], latent_freq)
            started = started | has[name]
        return self.task.predict(within_reason(read_head(self.head, latent_freq)))


class Ensemble(nn.Module):
    """The mean of what the blocks predict, over those whose modality a patient holds."""

    def __init__(self, merge: LegoMerge, task: Task) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({name: OneBlock(block, task) for name, block in merge.blocks.items()})

    def forward(self, inputs: Mapping[str, Inputs], held: Tensor) -> Tensor:
        """Predict for every patient from what it holds."""
        said = torch.stack([self.blocks[name]({name: own}, held) for name, own in inputs.items()])
        counts = held.to(said.dtype)[:, :, None]
        return (said * counts).sum(dim=0) / counts.sum(dim=0)


def within_reason(logits: Tensor) -> Tensor:
    """As `lego_core.training.within_reason`, in operations that ONNX has."""
    return torch.where(logits.isnan(), 0.0, logits).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)


def _block(blocks: nn.ModuleDict, name: str) -> RealBlock:
    return cast(RealBlock, blocks[name])


def _held(inputs: Mapping[str, Inputs]) -> Tensor:
    return torch.stack([one.held for one in inputs.values()])


def _heads_of_subsets(merge: LegoMerge) -> dict[str, Tensor]:
    """Every tensor of the merged head of every subset, at the place that its bits say; zeros for none."""
    names: Sequence[str] = merge.modalities
    subsets = [
        [name for name, bit in zip(names, bits[::-1], strict=True) if bit]
        for bits in product((0, 1), repeat=len(names))
    ]
    merged = [merge.merged_head(subset) for subset in subsets[1:]]
    return {
        key: torch.stack([torch.zeros_like(merged[0][key]), *(one[key].detach() for one in merged)])
        for key in merged[0]
    }
