"""LegoMerge: blocks of several modalities become one model. No training, no paired patient."""

from collections.abc import Iterable, Mapping
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.func import functional_call

from lego_core.block import Blocks, LegoBlock, check_mergeable
from lego_core.errors import DataError, MergeError
from lego_core.merging import HarmonicMean, LatentMerge, Slerp, WeightMerge
from lego_core.records import Batch


@final
class LegoMerge(nn.Module):
    """One model out of blocks that never saw a patient in common.

    Every patient's latents are combined over the modalities this patient has; the heads
    are combined over the same modalities. A patient with one modality therefore gets
    exactly what that block alone would say.

    Args:
        blocks: Trained blocks, one per modality, of one latent contract and one task.
        latents: How latents become one.
        heads: How the task heads become one.
        modality_weights: How much each modality counts, by name, each above 0; equal if
            not given.

    Shapes:
        batch    Batch of B patients, any non-empty subset of modalities each
        returns  (B, K)  logits

    Raises:
        MergeError: If the blocks do not go together, or a weight is missing or not positive.

    Guarantees:
        Order: the order of the blocks never matters (up to rounding).
        One modality: a patient with one modality gets that block's own logits.
        The blocks are used as they are, and never changed.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950,
        section 3 and equation 3; heads by spherical interpolation [Shoemake 1985].
    """

    def __init__(
        self,
        blocks: Iterable[LegoBlock],
        *,
        latents: LatentMerge | None = None,
        heads: WeightMerge | None = None,
        modality_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        blocks = list(blocks)
        check_mergeable(blocks)
        self.blocks = Blocks(blocks)
        self.latents = latents or HarmonicMean()
        self.heads = heads or Slerp()
        self.modality_weights = _check_weights(list(self.blocks), modality_weights)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of the blocks."""
        return tuple(self.blocks)

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Predict for patients with any subset of modalities."""
        held = held_by_patient(batch, self.modalities)
        latent_freq = self.latent(batch, held)
        logits = latent_freq.real.new_zeros(len(batch), self.blocks.first.num_outputs)
        for pattern in torch.unique(held, dim=1).unbind(1):
            patients = (held == pattern[:, None]).all(dim=0)
            logits[patients] = self._read(latent_freq[patients], pattern)
        return logits

    def latent(self, batch: Batch, held: Tensor) -> Complex[Tensor, "B L D"]:
        """The merged latent of every patient; `held` (M, B) tells who has what."""
        latents_freq = []
        for block, has_it in zip(self.blocks.values(), held, strict=True):
            contract = block.contract
            shape = (len(batch), contract.num_latents, contract.latent_dim)
            latent_freq = torch.zeros(shape, dtype=torch.complex64, device=has_it.device)
            if has_it.any():
                own = block.latent(batch.inputs[block.modality].select(has_it))
                latent_freq = latent_freq.index_put((has_it,), own)
            latents_freq.append(latent_freq)
        weights = held * self._weights(held.device)[:, None]
        return self.latents.combine(torch.stack(latents_freq), weights / weights.sum(dim=0))

    def merged_head(self, modalities: Iterable[str]) -> dict[str, Tensor]:
        """The weights of one head, merged from the heads of these modalities."""
        chosen = [name for name in self.blocks if name in set(modalities)]
        weights = torch.tensor([self.modality_weights[name] for name in chosen])
        heads = [dict(self.blocks[name].trunk.head.named_parameters()) for name in chosen]
        return {
            key: self.heads.combine(torch.stack([head[key] for head in heads]), weights / weights.sum())
            for key in heads[0]
        }

    def _read(self, latent_freq: Tensor, pattern: Tensor) -> Tensor:
        present = [name for name, has_it in zip(self.blocks, pattern, strict=True) if has_it]
        return functional_call(self.blocks[present[0]].trunk.head, self.merged_head(present), (latent_freq,))

    def _weights(self, device: torch.device) -> Tensor:
        return torch.tensor([self.modality_weights[name] for name in self.blocks], device=device)


def held_by_patient(batch: Batch, modalities: Iterable[str]) -> Tensor:
    """Who has what: (M, B), True where a patient has a modality.

    Raises:
        DataError: If a patient has none of the modalities.
    """
    nobody = torch.zeros(len(batch), dtype=torch.bool, device=batch.outcomes.device)
    held = torch.stack([batch.inputs[name].held if name in batch.inputs else nobody for name in modalities])
    without = int((~held.any(dim=0)).sum())
    if without:
        raise DataError(
            f"{without} of {len(batch)} patients have none of the modalities {list(modalities)} that the "
            "model knows. Leave them out, or give at least one of these modalities."
        )
    return held


def _check_weights(modalities: list[str], weights: Mapping[str, float] | None) -> dict[str, float]:
    if weights is None:
        return dict.fromkeys(modalities, 1.0)
    unusable = [name for name in modalities if not weights.get(name, 0.0) > 0]
    if unusable or set(weights) - set(modalities):
        raise MergeError(
            f"The modality weights {dict(weights)} do not fit the modalities {modalities}. Give each "
            "modality one weight above 0, or leave the weights out for equal ones."
        )
    return dict(weights)
