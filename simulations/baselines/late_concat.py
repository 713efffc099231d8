"""Late fusion by concatenation."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.records import Batch, ModalitySchema
from simulations.baselines._encoded import AbstractEncodedNetwork
from simulations.baselines._pooling import Embeddings, classifier


@final
class LateConcat(AbstractEncodedNetwork):
    """Every modality becomes one vector; the vectors, side by side, go through a small network.

    Source:
        Baltrusaitis, Ahuja, Morency. "Multimodal Machine Learning: A Survey and Taxonomy." IEEE
        TPAMI 41(2), 2019. arXiv:1705.09406, section 5 (fusion). Absent modalities get a learned
        vector each, for which the survey names no remedy.
    """

    kind: Literal["late-concat"] = "late-concat"

    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        """Make the network for these modalities."""
        return _LateConcatModule(self, schemas, num_outputs=num_outputs)


class _LateConcatModule(nn.Module):
    """The network of `LateConcat`.

    Shapes:
        batch    Batch of B patients
        returns  (B, K)  logits
    """

    def __init__(
        self, settings: LateConcat, schemas: Mapping[str, ModalitySchema], *, num_outputs: int
    ) -> None:
        super().__init__()
        dim = settings.token_dim
        self.embeddings = Embeddings(schemas, chosen=settings.encoders, token_dim=dim)
        self.classifier = classifier(
            len(schemas) * dim, hidden_dim=dim, num_outputs=num_outputs, dropout=settings.dropout
        )

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Embed, concatenate, classify."""
        return self.classifier(torch.cat(self.embeddings(batch), dim=1))
