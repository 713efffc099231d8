"""LegoBlock: one modality's model. An encoder, then a latent that asks it, then a head.

Read it from the bottom of the picture:

    logits   <- head( mean over L of Re Z )
    Z        <- depth x [ back to the signal, normalise, ask the tokens, think ]
    memory   <- keys and values of tokens, computed once
    tokens   <- encoder( normalised inputs ), run once
"""

import hashlib
from collections.abc import ItemsView, Iterable, Sequence, ValuesView
from typing import cast, final

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from lego_core.attention import Memory, TokenMemory, check_heads
from lego_core.encoders._contract import AbstractEncoder
from lego_core.errors import MergeError, ShapeError
from lego_core.records import Inputs, ModalitySchema
from lego_core.statistics import Normalisation
from lego_core.trunk import LatentContract, Trunk


@final
class LegoBlock(nn.Module):
    """One modality's model, which writes what it learns into a small latent array.

    Args:
        modality: Name of the modality.
        encoder: Settings of the encoder, or the built module itself: any module whose
            `forward(Inputs)` gives `Tokens` and that has a `token_dim`.
        schema: What the modality looks like.
        num_outputs: Number of outputs K of the task.
        contract: Sizes shared by all blocks that are to be merged; the defaults if not given.
        base_logits: What is true of the whole group (`task.base_logits`), for the head to begin
            at. With it a short training is enough, since there is no level to be found first.
        seed: Blocks of one seed have one common start: equal trunks, whatever the modality.

    Shapes:
        inputs   Inputs of B patients who all hold the modality
        returns  (B, K)  logits

    Guarantees:
        No state: a forward pass changes neither the weights, the buffers nor the inputs.
        Common start: two blocks built with one contract, one K, one seed and the same base
        logits have bit-identical trunks.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950,
        section 3. Common start: Sung et al. "An Empirical Study of Multimodal Model
        Merging." Findings of EMNLP 2023. arXiv:2304.14933.
    """

    def __init__(
        self,
        modality: str,
        encoder: AbstractEncoder | nn.Module,
        schema: ModalitySchema,
        *,
        num_outputs: int,
        contract: LatentContract | None = None,
        base_logits: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        contract = contract or LatentContract()
        check_heads(contract.latent_dim, contract.num_heads)
        self.modality = modality
        self.schema = schema
        self.contract = contract
        self.num_outputs = num_outputs
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.trunk = Trunk(contract, num_outputs)
            if base_logits is not None:
                self.trunk.head.begin_at(base_logits)
            torch.manual_seed(_seed_of(modality, seed))
            self.encoder = encoder.build(schema) if isinstance(encoder, AbstractEncoder) else encoder
            self.token_memory = TokenMemory(
                _token_dim(self.encoder, modality),
                latent_dim=contract.latent_dim,
                num_heads=contract.num_heads,
            )
        self.feature_mean = nn.Buffer(torch.zeros(schema.num_features))
        self.feature_stddev = nn.Buffer(torch.ones(schema.num_features))

    def normalise_with(self, normalisation: Normalisation) -> None:
        """Take over the means and spreads that the sites of this modality agreed on."""
        self.feature_mean.copy_(normalisation.mean)
        self.feature_stddev.copy_(normalisation.stddev)

    def remember(self, inputs: Inputs) -> Memory:
        """Run the encoder, once, and compute the keys and values of its tokens."""
        normalised = Normalisation(self.feature_mean, self.feature_stddev).normalise(inputs)
        return self.token_memory(self.encoder(normalised))

    def latent(self, inputs: Inputs) -> Complex[Tensor, "B L D"]:
        """What the block knows about each patient, in the frequency domain."""
        return self.trunk(self.remember(inputs))

    def forward(self, inputs: Inputs) -> Float[Tensor, "B K"]:
        """Predict from this modality alone."""
        return self.trunk.head(self.latent(inputs))


@final
class Blocks(nn.ModuleDict):
    """Blocks by modality, in order; an `nn.ModuleDict` that knows what is in it."""

    def __init__(self, blocks: Iterable[LegoBlock]) -> None:
        super().__init__({block.modality: block for block in blocks})

    def __getitem__(self, key: str) -> LegoBlock:
        return cast(LegoBlock, super().__getitem__(key))

    def values(self) -> ValuesView[LegoBlock]:
        """The blocks."""
        return cast(ValuesView[LegoBlock], super().values())

    def items(self) -> ItemsView[str, LegoBlock]:
        """Modalities and blocks."""
        return cast(ItemsView[str, LegoBlock], super().items())

    @property
    def first(self) -> LegoBlock:
        """The first block, for what all of them share."""
        return next(iter(self.values()))


def check_mergeable(blocks: Iterable[LegoBlock]) -> None:
    """Refuse blocks that do not share one latent contract, one task, and a modality each.

    Raises:
        MergeError: If there is no block, a modality occurs twice, or sizes differ.
    """
    blocks = list(blocks)
    if not blocks:
        raise MergeError("There is no block to merge. Give at least one trained LegoBlock.")
    names = [block.modality for block in blocks]
    if len(set(names)) < len(names):
        raise MergeError(
            f"Of the {len(names)} blocks {names} some share a modality. Aggregate the blocks of one "
            "modality first, and merge one block of each."
        )
    first = blocks[0]
    for block in blocks[1:]:
        for key in LatentContract.model_fields:
            ours, theirs = getattr(first.contract, key), getattr(block.contract, key)
            if ours != theirs:
                raise MergeError(
                    f"Cannot merge block '{first.modality}' ({key} {ours}) with block '{block.modality}' "
                    f"({key} {theirs}): the latent contracts differ. Set 'latent.{key.replace('_', '-')}' "
                    "to one value for all modalities and train the odd block again."
                )
        if first.num_outputs != block.num_outputs:
            raise MergeError(
                f"Cannot merge block '{first.modality}' ({first.num_outputs} outputs) with block "
                f"'{block.modality}' ({block.num_outputs} outputs): they were trained for different "
                "tasks. Train both for one task."
            )


def _token_dim(encoder: nn.Module, modality: str) -> int:
    width = getattr(encoder, "token_dim", None)
    if not isinstance(width, int):
        raise ShapeError(
            f"The encoder of block '{modality}' does not tell how wide its tokens are: its token_dim is "
            f"{width!r} and must be a whole number. Give it this attribute, or use "
            "lego_core.encoders.wrap_module."
        )
    return width


def _seed_of(modality: str, seed: int) -> int:
    """A seed of the modality's own, the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{modality}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
