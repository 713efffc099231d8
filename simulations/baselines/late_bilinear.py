"""Late fusion by products of features."""

from collections.abc import Mapping, Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from lego_core.records import Batch, ModalitySchema
from simulations.baselines._encoded import AbstractEncodedNetwork
from simulations.baselines._pooling import Embeddings


@final
class LateBilinear(AbstractEncodedNetwork):
    """Every modality becomes one vector, and the network sees all products of their entries.

    A 1 is appended to each vector, so that the outer product also holds each modality alone.
    Two modalities are multiplied in full. With three or more the weights of the outer product,
    which would outgrow the memory, have low rank, and the product is never written out.

    Args:
        factor_dim: Width of a modality's vector before the product.
        rank: Rank of the weights, with three or more modalities.

    Source:
        Zadeh et al. "Tensor Fusion Network for Multimodal Sentiment Analysis." EMNLP 2017.
        arXiv:1707.07250. Chen et al. "Pathomic Fusion." IEEE TMI 41(4), 2022. arXiv:1912.08937
        (Kronecker product of medical modalities). Low rank: Liu et al. "Efficient Low-rank
        Multimodal Fusion with Modality-Specific Factors." ACL 2018. arXiv:1806.00064.
    """

    kind: Literal["late-bilinear"] = "late-bilinear"
    factor_dim: int = Field(default=16, ge=1)
    rank: int = Field(default=8, ge=1)

    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        """Make the network for these modalities."""
        return _LateBilinearModule(self, schemas, num_outputs=num_outputs)


class _LateBilinearModule(nn.Module):
    """The network of `LateBilinear`.

    Shapes:
        batch    Batch of B patients
        returns  (B, K)  logits
    """

    def __init__(
        self, settings: LateBilinear, schemas: Mapping[str, ModalitySchema], *, num_outputs: int
    ) -> None:
        super().__init__()
        dim, count = settings.token_dim, len(schemas)
        self.embeddings = Embeddings(schemas, chosen=settings.encoders, token_dim=dim)
        self.factors = nn.ModuleList(nn.Linear(dim, settings.factor_dim) for _ in schemas)
        self.fusion = (
            FullProduct(count, settings.factor_dim, dim)
            if count <= 2
            else LowRankProduct(count, settings.factor_dim, dim, rank=settings.rank)
        )
        self.head = nn.Sequential(
            nn.LayerNorm(dim), nn.GELU(), nn.Dropout(settings.dropout), nn.Linear(dim, num_outputs)
        )

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Embed, multiply, classify."""
        embeddings = self.embeddings(batch)
        factors = [torch.tanh(one(vector)) for one, vector in zip(self.factors, embeddings, strict=True)]
        return self.head(self.fusion(factors))


@final
class FullProduct(nn.Module):
    """A linear map of the outer product of all vectors, each with a 1 appended.

    Shapes:
        factors  M of (B, D)
        returns  (B, C)
    """

    def __init__(self, count: int, factor_dim: int, num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear((factor_dim + 1) ** count, num_outputs)

    def forward(self, factors: Sequence[Float[Tensor, "B D"]]) -> Float[Tensor, "B C"]:
        """Write the product out, and map it."""
        product = with_one(factors[0])
        for factor in factors[1:]:
            product = (product.unsqueeze(2) * with_one(factor).unsqueeze(1)).flatten(1)
        return self.linear(product)


@final
class LowRankProduct(nn.Module):
    """The same map with weights of low rank: per rank, the product of a linear map of each vector.

    It starts near the sum of the modalities: the weights of the appended ones start at 1, for
    products of many small numbers would vanish.

    Shapes:
        factors  M of (B, D)
        returns  (B, C)
    """

    def __init__(self, count: int, factor_dim: int, num_outputs: int, *, rank: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.empty(count, rank, factor_dim + 1, num_outputs))
        nn.init.normal_(self.weights, std=(factor_dim + 1) ** -0.5)
        with torch.no_grad():
            self.weights[:, :, -1] = 1.0
        self.ranks = nn.Parameter(torch.randn(rank) * rank**-0.5)
        self.bias = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, factors: Sequence[Float[Tensor, "B D"]]) -> Float[Tensor, "B C"]:
        """Map every vector once per rank, multiply over the modalities, weigh the ranks."""
        extended = torch.stack([with_one(factor) for factor in factors])  # (M, B, D + 1)
        mapped = torch.einsum("mbd,mrdc->mbcr", extended, self.weights)
        return mapped.prod(dim=0) @ self.ranks + self.bias


def with_one(factor: Float[Tensor, "B D"]) -> Float[Tensor, "B E"]:
    """Append a 1 to each vector."""
    return functional.pad(factor, (0, 1), value=1.0)
