"""LegoMerge: blocks of several modalities become one model. No training, no paired patient."""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast, final

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.func import functional_call

from lego_core._tensor_merge import NamedTensors, check_ingredients, merge_tensors
from lego_core.block import Blocks, LegoBlock, check_mergeable
from lego_core.errors import DataError, MergeError
from lego_core.gram import GramStatistics
from lego_core.merging import HarmonicMean, LatentMerge, Slerp, WeightMerge
from lego_core.records import Batch
from lego_core.trunk import TRUNK_PARTS


@final
class LegoMerge(nn.Module):
    """One model out of blocks that never saw a patient in common.

    Every patient's latents are combined over the modalities this patient has; the heads
    are combined over the same modalities. A patient with one modality therefore gets
    exactly what that block alone would say.

    With `trunk`, the trunks of all blocks become one, once and for every patient: a
    modality-agnostic model, in which only encoders, token memories, heads and what stays
    `apart` belong to a modality. It is about as many times smaller in its trunk as there
    are blocks, and no block says any more what it would say alone.

    Args:
        blocks: Trained blocks, one per modality, of one latent contract and one task.
        latents: How latents become one.
        heads: How the task heads become one.
        modality_weights: How much each modality counts, by name, each above 0; equal if
            not given.
        trunk: How the trunks become one; each block keeps its own if not given.
        apart: Parts of the trunk that each block keeps to itself all the same.
        start: The state of a trunk as all blocks began with it, for methods that work on
            changes from a common start.
        grams: Statistics of what the linear layers of each block were fed, by modality,
            for methods that ask for them.

    Shapes:
        batch    Batch of B patients, any non-empty subset of modalities each
        returns  (B, K)  logits

    Raises:
        MergeError: If the blocks do not go together, a weight is missing or not positive,
            or a method lacks what it works with.

    Guarantees:
        Order: the order of the blocks never matters (up to rounding).
        One modality: a patient with one modality gets that block's own logits, unless
        trunks were merged.
        The blocks are used as they are, and never changed.
        All that a merge needs is in its state: weights loaded into a merge of other blocks
        of the same form make it predict as the first one did.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950,
        section 3 and equation 3; heads by spherical interpolation [Shoemake 1985]. Merged
        trunks and what stays apart: Sung et al. "An Empirical Study of Multimodal Model
        Merging." Findings of EMNLP 2023. arXiv:2304.14933.
    """

    def __init__(
        self,
        blocks: Iterable[LegoBlock],
        *,
        latents: LatentMerge | None = None,
        heads: WeightMerge | None = None,
        modality_weights: Mapping[str, float] | None = None,
        trunk: WeightMerge | None = None,
        apart: Sequence[str] = (),
        start: Mapping[str, Tensor] | None = None,
        grams: Mapping[str, GramStatistics] | None = None,
    ) -> None:
        super().__init__()
        blocks = list(blocks)
        check_mergeable(blocks)
        self.blocks = Blocks(blocks)
        self.latents = latents or HarmonicMean()
        self.heads = heads or Slerp()
        weights = _check_weights(list(self.blocks), modality_weights)
        self.weights = nn.ModuleDict(
            {name: NamedTensors({"weight": torch.tensor(weights[name])}) for name in self.blocks}
        )
        _check_apart(apart, trunk)
        for method in (self.heads, trunk):
            if method:
                check_ingredients(method, blocks, start=start, grams=grams)
        self.shared = NamedTensors(self._merged_trunk(trunk, apart, start=start, grams=grams))
        self.head_start = NamedTensors(_of_head(start) if start and self.heads.needs_start else {})
        self.head_grams = nn.ModuleDict(
            {name: NamedTensors(_of_head(grams[name].means())) for name in self.blocks}
            if grams and self.heads.needs_grams
            else {}
        )

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of the blocks."""
        return tuple(self.blocks)

    @property
    def modality_weights(self) -> dict[str, float]:
        """How much each modality counts; what matters is their ratio."""
        return dict(zip(self.blocks, self._weights(self.blocks).tolist(), strict=True))

    @property
    def num_parameters(self) -> int:
        """How many trained weights a prediction needs: those of all blocks, a merged trunk once."""
        every = sum(weight.numel() for weight in self.blocks.parameters())
        shared = sum(tensor.numel() for tensor in self.shared.by_name().values())
        return every - (len(self.blocks) - 1) * shared

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
                memory = block.remember(batch.inputs[block.modality].select(has_it))
                own = functional_call(block.trunk, self.shared.by_name(), (memory,))
                latent_freq = latent_freq.index_put((has_it,), own)
            latents_freq.append(latent_freq)
        weights = held * self._weights(self.blocks)[:, None]
        return self.latents.combine(torch.stack(latents_freq), weights / weights.sum(dim=0))

    def merged_head(self, modalities: Iterable[str]) -> dict[str, Tensor]:
        """The weights of one head, merged from the heads of these modalities."""
        chosen = [name for name in self.blocks if name in set(modalities)]
        grams = {name: cast(NamedTensors, own).by_name() for name, own in self.head_grams.items()}
        return merge_tensors(
            self.heads,
            [dict(self.blocks[name].trunk.head.named_parameters()) for name in chosen],
            self._weights(chosen),
            start=self.head_start.by_name(),
            grams=[grams[name] for name in chosen if name in grams],
        )

    def _merged_trunk(
        self,
        method: WeightMerge | None,
        apart: Sequence[str],
        *,
        start: Mapping[str, Tensor] | None,
        grams: Mapping[str, GramStatistics] | None,
    ) -> dict[str, Tensor]:
        """What takes the place of every block's own tensors; nothing if trunks are not merged."""
        if method is None:
            return {}
        parts = self.blocks.first.trunk.parts()
        trunks = [dict(block.trunk.named_parameters()) for block in self.blocks.values()]
        return merge_tensors(
            method,
            [{name: trunk[name] for name in parts if parts[name] not in apart} for trunk in trunks],
            self._weights(self.blocks),
            start=(start or {}) if method.needs_start else {},
            grams=[grams[name].means() for name in self.blocks] if grams and method.needs_grams else [],
        )

    def _read(self, latent_freq: Tensor, pattern: Tensor) -> Tensor:
        present = [name for name, has_it in zip(self.blocks, pattern, strict=True) if has_it]
        return functional_call(self.blocks[present[0]].trunk.head, self.merged_head(present), (latent_freq,))

    def _weights(self, modalities: Iterable[str]) -> Tensor:
        named = {name: cast(NamedTensors, own).by_name() for name, own in self.weights.items()}
        return torch.stack([named[name]["weight"] for name in modalities])


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


def _check_apart(apart: Sequence[str], trunk: WeightMerge | None) -> None:
    unknown = [part for part in apart if part not in TRUNK_PARTS]
    if unknown:
        raise MergeError(f"A trunk has no part '{unknown[0]}'. Its parts are {list(TRUNK_PARTS)}.")
    if apart and trunk is None:
        raise MergeError(
            f"The parts {list(apart)} are to stay apart and no trunks are merged, so all parts do. Say how "
            "trunks are merged (`trunk`), or leave `apart` empty."
        )


def _of_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What belongs to the head, under the names that the head itself gives."""
    return {
        name.removeprefix("head."): tensor for name, tensor in tensors.items() if name.startswith("head.")
    }
