"""MultiModN: one state that modalities update one after another."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from lego_core.records import Batch, ModalitySchema
from lego_core.tasks import Task
from simulations.baselines._encoded import AbstractEncodedNetwork
from simulations.baselines._networks import Loss
from simulations.baselines._pooling import Embeddings


@final
class MultiModN(AbstractEncodedNetwork):
    """A state passes from modality to modality; one decoder predicts from it after every step.

    Each modality has a module that makes the next state of the last one and of what was
    measured. A patient who lacks a modality skips its module and keeps the state. The loss is
    the mean over all decodings, the one of the learned first state included; the prediction is
    the last. A skipped step counts the decoding before it once more.

    Args:
        state_dim: Width of the state.

    Source:
        Swamy, Satayeva, Frej, Bossy, Vogels, Jaggi, Käser, Hartley. "MultiModN: Multimodal,
        Multi-Task, Interpretable Modular Networks." NeurIPS 2023. arXiv:2309.14118.
    """

    kind: Literal["multimodn"] = "multimodn"
    state_dim: int = Field(default=64, ge=1)

    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        """Make the network for these modalities."""
        return _MultiModNModule(self, schemas, num_outputs=num_outputs)

    def loss(self, task: Task) -> Loss:
        """Mean over the decodings."""

        def mean_loss(logits: Tensor, outcomes: Tensor) -> Tensor:
            steps = logits.split(task.num_outputs, dim=1)
            return torch.stack([task.loss(step, outcomes) for step in steps]).mean()

        return mean_loss


class _MultiModNModule(nn.Module):
    """The network of `MultiModN`.

    Shapes:
        batch    Batch of B patients
        returns  (B, (M + 1) K)  logits of the first state and after each modality, side by side
    """

    def __init__(
        self, settings: MultiModN, schemas: Mapping[str, ModalitySchema], *, num_outputs: int
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(schemas, chosen=settings.encoders, token_dim=settings.token_dim)
        self.start = nn.Parameter(0.1 * torch.randn(settings.state_dim))
        width = settings.state_dim + settings.token_dim
        self.updates = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(width, settings.state_dim),
                    nn.ReLU(),
                    nn.Dropout(settings.dropout),
                    nn.Linear(settings.state_dim, settings.state_dim),
                )
                for name in schemas
            }
        )
        self.decoder = nn.Sequential(nn.ReLU(), nn.Linear(settings.state_dim, num_outputs))

    def forward(self, batch: Batch) -> Float[Tensor, "B N"]:
        """Update the state modality by modality, and decode it each time."""
        state = self.start.expand(len(batch), -1)
        decoded = [self.decoder(state)]
        for (name, update), vector in zip(self.updates.items(), self.embeddings(batch), strict=True):
            updated = update(torch.cat([state, vector], dim=1))
            state = torch.where(batch.inputs[name].held.unsqueeze(1), updated, state)
            decoded.append(self.decoder(state))
        return torch.cat(decoded, dim=1)
