"""The trunk: all of a block that does not depend on its modality, and the contract on its sizes."""

from collections.abc import Sequence
from typing import ClassVar, Literal, final, get_args

import torch
from jaxtyping import Complex, Float
from pydantic import Field
from torch import Tensor, nn

from lego_core.attention import FeedForward, FrequencyCrossAttention, Memory
from lego_core.component import Component
from lego_core.errors import ShapeError
from lego_core.per_patient import constant_of
from lego_core.spectral import DOMAINS, DomainName, drop_phase

TrunkPart = Literal["latent", "attention", "feed-forward", "norms"]
TRUNK_PARTS: tuple[TrunkPart, ...] = get_args(TrunkPart)
PART_OF: dict[str, TrunkPart] = {
    "latent": "latent",
    "attentions": "attention",
    "feed_forwards": "feed-forward",
}

WHISPER = 0.3  # of a head that begins at the group's base rates, next to torch's own start


@final
class LatentContract(Component):
    """What all blocks of a run share, so that they can be merged.

    Args:
        num_latents: Number of latents L.
        latent_dim: Width D of a latent.
        depth: How often the latent asks the tokens.
        num_heads: Heads H of the attention; must divide `latent_dim`.
        feed_forward_factor: Inner width of the feed-forward, in multiples of D.
        dropout: Probability of dropout in attention and feed-forward, in [0, 1).
        share_weights: One attention and feed-forward for all passes, or one each.
        residual: Add what was read to the latent, or put it in its place.
        domain: Where blocks ask and merge; `signal` leaves the transforms out.
        phase: Whether the imaginary part is carried on after a pass, or set to zero.
    """

    num_latents: int = Field(default=8, ge=1)
    latent_dim: int = Field(default=32, ge=2)
    depth: int = Field(default=2, ge=1)
    num_heads: int = Field(default=4, ge=1)
    feed_forward_factor: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    share_weights: bool = True
    residual: bool = True
    domain: DomainName = "frequency"
    phase: Literal["tracked", "dropped"] = "tracked"


@final
class Head(nn.Module):
    """Read the frequency domain: mean over the latents of the real part, LayerNorm, Linear.

    Shapes:
        latent_freq  (B, L, D)  complex
        returns      (B, K)     logits
    """

    def __init__(self, latent_dim: int, num_outputs: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(latent_dim)
        self.linear = nn.Linear(latent_dim, num_outputs)

    @torch.no_grad()
    def begin_at(self, base_logits: Sequence[float]) -> None:
        """Say about `base_logits` of everybody, and let the latent change little of it at first.

        Args:
            base_logits: What is true of the whole group, one logit per output.

        Raises:
            ShapeError: If there is not one logit per output.
        """
        if len(base_logits) != len(self.linear.bias):
            raise ShapeError(
                f"A head of {len(self.linear.bias)} outputs cannot begin at {len(base_logits)} base logits. "
                "Give it the base logits of the task that its block was built for."
            )
        self.linear.weight.mul_(WHISPER)
        self.linear.bias.copy_(torch.tensor(base_logits))

    def forward(self, latent_freq: Complex[Tensor, "B L D"]) -> Float[Tensor, "B K"]:
        """Turn a latent into logits."""
        return self.linear(self.norm(latent_freq.real.mean(dim=1)))


@final
class Trunk(nn.Module):
    """Everything in a block that does not depend on its modality; the common start.

    Args:
        contract: Sizes shared by all blocks of a run.
        num_outputs: Number of outputs K of the task.

    Shapes:
        memory   keys and values of B patients
        returns  (B, L, D)  complex
    """

    learned_constants: ClassVar[tuple[str, ...]] = ("latent",)

    def __init__(self, contract: LatentContract, num_outputs: int) -> None:
        super().__init__()
        own = 1 if contract.share_weights else contract.depth
        dim, dropout = contract.latent_dim, contract.dropout
        self.depth = contract.depth
        self.domain = DOMAINS[contract.domain]
        self.drops_phase = contract.phase == "dropped"
        self.latent = nn.Parameter(torch.randn(contract.num_latents, dim))
        self.attentions = nn.ModuleList(
            FrequencyCrossAttention(
                dim, num_heads=contract.num_heads, dropout=dropout, residual=contract.residual
            )
            for _ in range(own)
        )
        self.feed_forwards = nn.ModuleList(
            FeedForward(dim, factor=contract.feed_forward_factor, dropout=dropout) for _ in range(own)
        )
        self.head = Head(dim, num_outputs)

    def forward(self, memory: Memory) -> Complex[Tensor, "B L D"]:
        """Ask one modality as often as the contract says, beginning with the learned latent."""
        latent_freq = self.start(len(memory.present))
        for pass_index in range(self.depth):
            latent_freq = self.read(latent_freq, memory, pass_index=pass_index)
        return latent_freq

    def parts(self) -> dict[str, TrunkPart]:
        """Which part of the trunk every tensor belongs to; the head belongs to none."""
        norms = {name for name, module in self.named_modules() if isinstance(module, nn.LayerNorm)}
        names = [name for name, _ in self.named_parameters() if not name.startswith("head.")]
        return {
            name: "norms" if name.rpartition(".")[0] in norms else PART_OF[name.split(".")[0]]
            for name in names
        }

    def start(self, num_patients: int) -> Complex[Tensor, "B L D"]:
        """The spectrum of the learned initial latent, once per patient."""
        return self.domain.enter(constant_of(self.latent, num_patients)).expand(num_patients, -1, -1)

    def read(
        self, latent_freq: Complex[Tensor, "B L D"], memory: Memory, *, pass_index: int
    ) -> Complex[Tensor, "B L D"]:
        """Ask a modality once more.

        Every pass but a block's first returns to the signal domain before it asks, so
        what one block hands to the next still carries its phase.
        """
        own = pass_index % len(self.attentions)
        if pass_index > 0:
            latent_freq = self.domain.enter(self.domain.leave(latent_freq))
        latent_freq = self.attentions[own](self.domain.normalise(latent_freq), memory)
        latent_freq = self.feed_forwards[own](latent_freq)
        return drop_phase(latent_freq) if self.drops_phase else latent_freq
