"""MCAT: the tokens of one modality guide what is read of the others."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lego_core.records import Batch, Cohort, ModalitySchema, Tokens
from simulations.baselines._attention import self_attention
from simulations.baselines._encoded import AbstractEncodedNetwork
from simulations.baselines._pooling import GatedAttention, classifier, encoded
from simulations.baselines._tokens import HeldTokens, rows_of

NUM_HEADS = 4


@final
class Mcat(AbstractEncodedNetwork):
    """Tokens of a guide attend to the tokens of every other modality; transformers pool each set.

    In the paper groups of genes guide what is read of the patches of one slide. Generalised
    here: the guide is any one modality, every other one is co-attended to by attention of its
    own, and the guided sets and the guide itself each go through a transformer layer and gated
    attention before they are concatenated. Bags give all their instances, other layouts the
    tokens of our encoders. An absent modality, the guide too, is one learned token.

    Args:
        guide: Name of the guiding modality; if not given the table with most features (genes, where
            there are genes), or the first modality where there is no table.

    Source:
        Chen, Lu, Weng, Chen, Williamson, Manz, Shady, Mahmood. "Multimodal Co-Attention
        Transformer for Survival Prediction in Gigapixel Whole Slide Images." ICCV 2021.
        doi:10.1109/ICCV48922.2021.00398.
    """

    kind: Literal["mcat"] = "mcat"
    guide: str | None = None

    def _unfit_for(self, cohort: Cohort, /) -> str | None:
        """Whether there is a guide, and something to be guided."""
        if len(cohort.modalities) < 2:
            return f"One modality guides another in it, and the modalities are {list(cohort.modalities)}."
        if self.guide is not None and self.guide not in cohort.modalities:
            return f"Its guide is to be '{self.guide}', and the modalities are {list(cohort.modalities)}."
        return None

    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        """Make the network for these modalities."""
        return _McatModule(self, schemas, guide=self._guide_of(schemas), num_outputs=num_outputs)

    def _guide_of(self, schemas: Mapping[str, ModalitySchema]) -> str:
        tables = {name: one.num_features for name, one in schemas.items() if one.layout == "table"}
        return self.guide or max(tables, key=tables.__getitem__, default=next(iter(schemas)))


class _McatModule(nn.Module):
    """The network of `Mcat`.

    Shapes:
        batch    Batch of B patients
        returns  (B, K)  logits
    """

    def __init__(
        self, settings: Mcat, schemas: Mapping[str, ModalitySchema], *, guide: str, num_outputs: int
    ) -> None:
        super().__init__()
        dim, dropout = settings.token_dim, settings.dropout
        self.guide = guide
        self.tokens = encoded(schemas, chosen=settings.encoders, token_dim=dim)
        for name, schema in schemas.items():
            if schema.layout == "bag":
                rows = rows_of(schema, token_dim=dim)
                self.tokens[name] = HeldTokens(rows, token_dim=dim)
        self.co_attentions = nn.ModuleDict(
            {
                name: nn.MultiheadAttention(dim, NUM_HEADS, dropout=dropout, batch_first=True)
                for name in schemas
                if name != guide
            }
        )
        self.transformers = nn.ModuleDict(
            {name: self_attention(dim, num_heads=NUM_HEADS, dropout=dropout) for name in schemas}
        )
        self.pools = nn.ModuleDict({name: GatedAttention(dim) for name in schemas})
        self.classifier = classifier(
            len(schemas) * dim, hidden_dim=dim, num_outputs=num_outputs, dropout=dropout
        )

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Guide, transform, pool, concatenate, classify."""
        guide: Tokens = self.tokens[self.guide](batch.inputs[self.guide])
        pooled = []
        for name, tokens in self.tokens.items():
            values = guide.values
            if name != self.guide:
                values = self._guided(name, guide, tokens(batch.inputs[name]))
            values = self.transformers[name](values, src_key_padding_mask=~guide.present)
            pooled.append(self.pools[name](Tokens(values, guide.present)))
        return self.classifier(torch.cat(pooled, dim=1))

    def _guided(self, name: str, guide: Tokens, tokens: Tokens) -> Float[Tensor, "B T C"]:
        answer, _ = self.co_attentions[name](
            guide.values,
            tokens.values,
            tokens.values,
            key_padding_mask=~tokens.present,
            need_weights=False,
        )
        return answer
