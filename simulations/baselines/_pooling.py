"""One vector out of many tokens."""

from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.encoders import Encoder
from lego_core.records import Batch, ModalitySchema, Tokens
from simulations.baselines._tokens import HeldTokens, encoder_for


@final
class GatedAttention(nn.Module):
    """Let attention with a gate weigh tokens, and sum them up.

    Shapes:
        tokens   Tokens of width C of B patients
        returns  (B, C)

    Source:
        Ilse, Tomczak, Welling. "Attention-based Deep Multiple Instance Learning." ICML 2018.
        arXiv:1802.04712, equation 9.
    """

    def __init__(self, token_dim: int, *, attention_dim: int = 64) -> None:
        super().__init__()
        self.content = nn.Linear(token_dim, attention_dim)
        self.gate = nn.Linear(token_dim, attention_dim)
        self.score = nn.Linear(attention_dim, 1)

    def weights(self, tokens: Tokens) -> Float[Tensor, "B T"]:
        """How much each token counts: 0 for padding, 1 in all."""
        hidden = torch.tanh(self.content(tokens.values)) * torch.sigmoid(self.gate(tokens.values))
        scores = self.score(hidden).squeeze(-1).masked_fill(~tokens.present, -torch.inf)
        return scores.softmax(dim=1)

    def forward(self, tokens: Tokens) -> Float[Tensor, "B C"]:
        """Sum the tokens up by their weights."""
        return (self.weights(tokens).unsqueeze(1) @ tokens.values).squeeze(1)


@final
class Embeddings(nn.Module):
    """One vector per modality and patient: our encoder, then gated attention over its tokens.

    Shapes:
        batch    Batch of B patients
        returns  one (B, C) per modality; a learned vector where a patient lacks it
    """

    def __init__(
        self, schemas: Mapping[str, ModalitySchema], *, chosen: Mapping[str, Encoder], token_dim: int
    ) -> None:
        super().__init__()
        self.tokens = encoded(schemas, chosen=chosen, token_dim=token_dim)
        self.pools = nn.ModuleDict({name: GatedAttention(token_dim) for name in schemas})

    def forward(self, batch: Batch) -> list[Float[Tensor, "B C"]]:
        """Embed every modality."""
        return [self.pools[name](tokens(batch.inputs[name])) for name, tokens in self.tokens.items()]


def encoded(
    schemas: Mapping[str, ModalitySchema], *, chosen: Mapping[str, Encoder], token_dim: int
) -> nn.ModuleDict:
    """Our encoders, each made ready for patients who lack its modality."""
    return nn.ModuleDict(
        {
            name: HeldTokens(encoder_for(name, schema, chosen=chosen), token_dim=token_dim)
            for name, schema in schemas.items()
        }
    )


def classifier(num_inputs: int, *, hidden_dim: int, num_outputs: int, dropout: float) -> nn.Sequential:
    """One hidden layer, then logits."""
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(num_inputs, hidden_dim),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden_dim, num_outputs),
    )
