"""Trunk and block without complex numbers; encoders, attention and heads are those of the block itself."""

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from lego_core.attention import FeedForward, FrequencyCrossAttention, Memory
from lego_core.block import LegoBlock
from lego_core.encoders._embedding import RowTokens, TimeEncoding, scales_days
from lego_core.encoders.time_series import TimeSeriesModule
from lego_core.export._pair import NoFourier, Pair, RealFourier, normalise_signal, normalise_spectrum
from lego_core.export._recurrent import WholeRecurrence
from lego_core.records import Inputs
from lego_core.spectral import DOMAINS
from lego_core.trunk import Head, Trunk


class RealTrunk(nn.Module):
    """What `Trunk` computes, in pairs.

    Args:
        trunk: Copied.
        shared: Tensors that take the place of its own, where trunks were merged.
    """

    def __init__(self, trunk: Trunk, shared: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.layers = copy.deepcopy(trunk)
        self.layers.load_state_dict({**trunk.state_dict(), **shared})
        num_latents, latent_dim = trunk.latent.shape
        in_frequency = trunk.domain == DOMAINS["frequency"]
        self.fourier = RealFourier(num_latents, latent_dim) if in_frequency else NoFourier()
        self.normalise = normalise_spectrum if in_frequency else normalise_signal
        start = self.layers.start(1).detach()
        self.start_real, self.start_imag = nn.Buffer(start.real.clone()), nn.Buffer(start.imag.clone())

    @property
    def start(self) -> Pair:
        """The spectrum of the learned latent; one for all patients."""
        return Pair(self.start_real, self.start_imag)

    def forward(self, memory: Memory) -> Pair:
        """Ask one modality as often as the contract says."""
        latent_freq = self.start
        for pass_index in range(self.layers.depth):
            latent_freq = self.read(latent_freq, memory, pass_index=pass_index)
        return latent_freq

    def read(self, latent_freq: Pair, memory: Memory, *, pass_index: int) -> Pair:
        """Ask a modality once more."""
        own = pass_index % len(self.layers.attentions)
        if pass_index > 0:
            latent_freq = self.fourier.enter(self.fourier.leave(latent_freq))
        latent_freq = self.normalise(latent_freq)
        attention = cast(FrequencyCrossAttention, self.layers.attentions[own])
        read = attention.ask(_once_each(latent_freq.real, memory), memory)
        real = cast(FeedForward, self.layers.feed_forwards[own]).think(read)
        imag = latent_freq.imag.expand_as(real)
        return Pair(real, imag * 0.0 if self.layers.drops_phase else imag)


class RealBlock(nn.Module):
    """What a block makes of its modality, in pairs.

    Args:
        block: The block.
        shared: As in `RealTrunk`.
    """

    def __init__(self, block: LegoBlock, shared: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.block = copy.deepcopy(block)
        _make_writable(self.block.encoder)
        self.trunk = RealTrunk(block.trunk, shared)

    def remember(self, inputs: Inputs) -> Memory:
        """As `LegoBlock.remember`."""
        return self.block.remember(inputs)

    def latent(self, inputs: Inputs) -> Pair:
        """As `LegoBlock.latent`."""
        return self.trunk(self.remember(inputs))

    def logits(self, inputs: Inputs) -> Tensor:
        """As the block itself."""
        return read_head(self.trunk.layers.head, self.latent(inputs))


class WavesOfTime(nn.Module):
    """What `TimeEncoding` computes, with scales to the last bit as they were: sines of many turns tell."""

    def __init__(self, encoding: TimeEncoding) -> None:
        super().__init__()
        self.to_token = encoding.to_token
        self.scales = nn.Buffer(scales_days(encoding.to_token.weight.device))

    def forward(self, times_days: Tensor) -> Tensor:
        """Encode the time of every row."""
        angles = times_days.unsqueeze(-1) / self.scales
        return self.to_token(torch.cat([angles.sin(), angles.cos()], dim=-1))


def _make_writable(encoder: nn.Module) -> None:
    """Put forms that a graph can hold into the places of those it cannot."""
    if isinstance(encoder, TimeSeriesModule):
        encoder.recurrent = WholeRecurrence(encoder.recurrent)  # type: ignore[assignment]
    for module in encoder.modules():
        if isinstance(module, RowTokens) and isinstance(module.time, TimeEncoding):
            module.time = WavesOfTime(module.time)  # type: ignore[assignment]


def read_head(head: Head, latent_freq: Pair) -> Tensor:
    """Logits of a head, which reads real parts only."""
    return head.linear(head.norm(latent_freq.real.mean(dim=1)))


def _once_each(real: Tensor, memory: Memory) -> Tensor:
    return real.expand(memory.present.shape[0], -1, -1)
