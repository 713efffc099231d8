"""A self-normalising network on all features: early fusion at its simplest."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, Literal, final

from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from lego_core.records import Batch, Cohort, ModalitySchema
from simulations.baselines._features import EVERYTHING, FeatureTable
from simulations.baselines._networks import AbstractNetwork


@final
class Snn(AbstractNetwork):
    """A feed-forward network with SELU and alpha dropout on the concatenated features.

    It reads the feature table that classical baselines read too, the training mean where
    nothing was measured: tables as they are, the other layouts summarised.

    Args:
        hidden_dims: Width of each hidden layer.
        dropout: Probability of alpha dropout after each hidden layer, in [0, 1).
        input_dropout: Probability of hiding a feature in training, in [0, 1).
        learning_rates: Step sizes to choose from by the validation loss: many features of few
            patients want a small one, few features of many patients a large one.

    Source:
        Klambauer, Unterthiner, Mayr, Hochreiter. "Self-Normalizing Neural Networks." NeurIPS
        2017. arXiv:1706.02515.
    """

    kind: Literal["snn"] = "snn"
    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(256, 256), min_length=1)
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = (1e-4, 1e-3)
    dropout: float = Field(default=0.25, ge=0, lt=1)
    input_dropout: float = Field(default=0.3, ge=0, lt=1)

    def seen_as(self, train: Cohort) -> Callable[[Cohort], Cohort]:
        """As one table of all features."""
        return FeatureTable.of(train).as_cohort

    def build(self, schemas: Mapping[str, ModalitySchema], *, num_outputs: int) -> nn.Module:
        """Make the network for the columns of the feature table."""
        return _SnnModule(self, schemas[EVERYTHING].num_features, num_outputs=num_outputs)


class _SnnModule(nn.Module):
    """The network of `Snn`.

    Shapes:
        batch    Batch of B patients with the table `everything`
        returns  (B, K)  logits
    """

    def __init__(self, settings: Snn, num_features: int, *, num_outputs: int) -> None:
        super().__init__()
        widths = (num_features, *settings.hidden_dims)
        self.layers = nn.Sequential(
            nn.Dropout(settings.input_dropout),
            *(
                nn.Sequential(_lecun(*sizes), nn.SELU(), nn.AlphaDropout(settings.dropout))
                for sizes in pairwise(widths)
            ),
            _lecun(widths[-1], num_outputs),
        )

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        """Run the layers on the only row."""
        return self.layers(batch.inputs[EVERYTHING].values[:, 0])


def _lecun(num_inputs: int, num_outputs: int) -> nn.Linear:
    """Weights of variance 1 / inputs, with which SELU keeps mean 0 and variance 1."""
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.normal_(layer.weight, std=num_inputs**-0.5)
    nn.init.zeros_(layer.bias)
    return layer
