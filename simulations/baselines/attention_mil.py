"""Attention over instances, concatenated with what tables say."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.records import Batch, Cohort, Inputs, ModalitySchema, Tokens
from simulations.baselines._encoded import AbstractEncodedNetwork
from simulations.baselines._pooling import GatedAttention, classifier
from simulations.baselines._tokens import HeldTokens, encoder_for, rows_of


@final
class AttentionMil(AbstractEncodedNetwork):
    """The rows of a bag, series or image are instances; gated attention makes one vector of them.

    Each such modality is a bag of its own. Their vectors stand side by side with those of the
    tables, which our encoder reads; a small network reads them all. Rows of a series know their
    time and pixels their place; else their order does not matter. Extended from one bag to
    several modalities by us; absent ones get a learned vector each.

    Source:
        Ilse, Tomczak, Welling. "Attention-based Deep Multiple Instance Learning." ICML 2018.
        arXiv:1802.04712, section 2.4 (gated attention).
    """

    kind: Literal["attention-mil"] = "attention-mil"

    def _unfit_for(self, cohort: Cohort, /) -> str | None:
        """Whether there is anything with instances."""
        if any(schema.layout != "table" for schema in cohort.schemas.values()):
            return None
        return "It weighs the rows of a bag, a series or an image, and all modalities here are tables."

    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        """Make the network for these modalities."""
        return _AttentionMilModule(self, schemas, num_outputs=num_outputs)


class _AttentionMilModule(nn.Module):
    """The network of `AttentionMil`.

    Shapes:
        batch    Batch of B patients
        returns  (B, K)  logits
    """

    def __init__(
        self, settings: AttentionMil, schemas: Mapping[str, ModalitySchema], *, num_outputs: int
    ) -> None:
        super().__init__()
        dim = settings.token_dim
        self.tokens = nn.ModuleDict(
            {name: _tokens(settings, name, schema) for name, schema in schemas.items()}
        )
        self.pools = nn.ModuleDict({name: GatedAttention(dim) for name in schemas})
        self.classifier = classifier(
            len(schemas) * dim, hidden_dim=dim, num_outputs=num_outputs, dropout=settings.dropout
        )

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Pool every modality, concatenate, classify."""
        pooled = [self.pools[name](tokens(batch.inputs[name])) for name, tokens in self.tokens.items()]
        return self.classifier(torch.cat(pooled, dim=1))


class _Instances(nn.Module):
    """A token per row, through a ReLU."""

    def __init__(self, schema: ModalitySchema, *, token_dim: int, dropout: float) -> None:
        super().__init__()
        self.rows = rows_of(schema, token_dim=token_dim)
        self.after = nn.Sequential(nn.ReLU(), nn.Dropout(dropout))

    def forward(self, inputs: Inputs) -> Tokens:
        """Embed every row."""
        tokens = self.rows(inputs)
        return Tokens(self.after(tokens.values), tokens.present)


def _tokens(settings: AttentionMil, name: str, schema: ModalitySchema) -> HeldTokens:
    dim = settings.token_dim
    if schema.layout == "table":
        return HeldTokens(encoder_for(name, schema, chosen=settings.encoders), token_dim=dim)
    return HeldTokens(_Instances(schema, token_dim=dim, dropout=settings.dropout), token_dim=dim)
