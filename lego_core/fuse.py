"""LegoFuse: blocks of several modalities become one model that some training may improve."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, final

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from lego_core.block import LegoBlock
from lego_core.gram import GramStatistics
from lego_core.merge import LegoMerge, held_by_patient
from lego_core.merging import WeightMerge
from lego_core.records import Batch, Inputs

FuseOrder = Literal["stack", "weave"]


@final
class LegoFuse(nn.Module):
    """Send one latent through all blocks, so that they can be trained together.

    `stack` lets the latent ask everything of the first block, then of the second, and so
    on; `weave` lets it ask every block once, then every block again. Between blocks the
    latent stays in the frequency domain and keeps its phase. A modality that a patient
    lacks is skipped for this patient, and the latent starts at the patient's first block.

    Args:
        blocks: Trained blocks, one per modality, in the order in which they are asked.
            They are copied: training the fused model leaves them as they are.
        order: `stack` or `weave`; the same for blocks of depth 1.
        heads: How the head is merged from the heads of the blocks, before training.
        modality_weights: How much each modality counts in that head, as in `LegoMerge`.
        start: As in `LegoMerge`, for the heads.
        grams: As in `LegoMerge`, for the heads.

    Shapes:
        batch    Batch of B patients, any non-empty subset of modalities each
        returns  (B, K)  logits

    Raises:
        MergeError: If the blocks do not go together.

    Guarantees:
        No tensor of a patient becomes part of the model's state: after a forward pass
        `state_dict()` has the same names, shapes and values as before.
        One block: a fused model of one block gives that block's own logits.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950,
        section 3 (LegoFuse).
    """

    def __init__(
        self,
        blocks: Iterable[LegoBlock],
        *,
        order: FuseOrder = "stack",
        heads: WeightMerge | None = None,
        modality_weights: Mapping[str, float] | None = None,
        start: Mapping[str, Tensor] | None = None,
        grams: Mapping[str, GramStatistics] | None = None,
    ) -> None:
        super().__init__()
        merge = LegoMerge(
            copy.deepcopy(list(blocks)),
            heads=heads,
            modality_weights=modality_weights,
            start=start,
            grams=grams,
        )
        self.order: FuseOrder = order
        self.patients_together = False
        self.blocks = merge.blocks
        self.head = copy.deepcopy(self.blocks.first.trunk.head)
        self.head.load_state_dict(merge.merged_head(merge.modalities))
        for block in self.blocks.values():
            block.trunk.head.requires_grad_(False)  # the fused head took its place

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order in which they are asked."""
        return tuple(self.blocks)

    @property
    def unread(self) -> frozenset[str]:
        """Names of tensors that no prediction depends on: the heads of the blocks."""
        heads = {f"blocks.{name}.trunk.head." for name in self.blocks}
        return frozenset(name for name in self.state_dict() if name.startswith(tuple(heads)))

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Predict for patients with any subset of modalities."""
        held = dict(zip(self.blocks, held_by_patient(batch, self.modalities), strict=True))
        return self.head(
            self._latent_together(batch, held) if self.patients_together else self._latent(batch, held)
        )

    def _latent(self, batch: Batch, held: Mapping[str, Bool[Tensor, "B"]]) -> Complex[Tensor, "B L D"]:
        """The latent of every patient; only who has a modality passes its block."""
        memories = {
            name: block.remember(batch.inputs[name].select(held[name]))
            for name, block in self.blocks.items()
            if held[name].any()
        }
        contract = self.blocks.first.contract
        shape = (len(batch), contract.num_latents, contract.latent_dim)
        latent_freq = torch.zeros(shape, dtype=torch.complex64, device=batch.outcomes.device)
        started = torch.zeros(len(batch), dtype=torch.bool, device=batch.outcomes.device)
        for name, pass_index in self.passes(contract.depth):
            if name not in memories:
                continue
            trunk, has_it = self.blocks[name].trunk, held[name]
            start = trunk.start(int(has_it.sum()))
            own = torch.where(started[has_it][:, None, None], latent_freq[has_it], start)
            own = trunk.read(own, memories[name], pass_index=pass_index)
            latent_freq = latent_freq.index_put((has_it,), own)
            started = started | has_it
        return latent_freq

    def _latent_together(
        self, batch: Batch, held: Mapping[str, Bool[Tensor, "B"]]
    ) -> Complex[Tensor, "B L D"]:
        """The same latents; everybody passes every block, and keeps what comes of the own ones."""
        blocks = {name: block for name, block in self.blocks.items() if name in batch.inputs}
        memories = {name: block.remember(as_if_held(batch.inputs[name])) for name, block in blocks.items()}
        starts = {name: block.trunk.start(len(batch)) for name, block in blocks.items()}
        latent_freq = torch.zeros_like(next(iter(starts.values())))
        started = torch.zeros(len(batch), dtype=torch.bool, device=batch.outcomes.device)
        for name, pass_index in self.passes(self.blocks.first.contract.depth):
            if name not in blocks:
                continue
            own = torch.where(started[:, None, None], latent_freq, starts[name])
            own = blocks[name].trunk.read(own, memories[name], pass_index=pass_index)
            latent_freq = torch.where(held[name][:, None, None], own, latent_freq)
            started = started | held[name]
        return latent_freq

    def passes(self, depth: int) -> list[tuple[str, int]]:
        """In which order the blocks are asked: modality, and which time for that block."""
        if self.order == "stack":
            return [(name, index) for name in self.blocks for index in range(depth)]
        return [(name, index) for index in range(depth) for name in self.blocks]


def as_if_held(inputs: Inputs) -> Inputs:
    """Give who lacks a modality one row in which nothing was measured, so that no average is over nothing."""
    first = torch.arange(inputs.present.shape[1], device=inputs.present.device) == 0
    return replace(inputs, present=inputs.present | (first & ~inputs.held[:, None]))
