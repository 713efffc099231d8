"""Encoders that keep what passes through them, as published code does; and one that may."""

import torch
from torch import Tensor, nn

WIDTH, BATCH = 3, 32  # features of the tiny plan's clinical table, patients in its batches


class Grows(nn.Module):
    """A parameter becomes the latents of the last batch, as in the published LegoFuse."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.zeros(1, WIDTH))
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.layer(x) + 0 * self.latents[:1]
        self.latents = nn.Parameter(tokens.detach().clone())
        return tokens


class Appears(nn.Module):
    """The last batch is kept under a name that was not there before."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        if x.abs().sum() > 0:  # not the zeros with which widths are found out
            self.register_buffer("latents", x.detach().clone())
        return self.layer(x)


class Waits(nn.Module):
    """Room for a batch is there from the start, so that no name and no shape changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("latents", torch.zeros(BATCH, WIDTH))
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        self.latents[: len(x)] = x.detach()[:BATCH]
        return self.layer(x)


class Normalises(nn.Module):
    """A BatchNorm: its running mean and variance are declared, and are sums over patients."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)
