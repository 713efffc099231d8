"""Tables: a self-normalising network for few patients and many features."""

from typing import Annotated, ClassVar, Literal, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from lego_core.encoders._contract import AbstractEncoder
from lego_core.encoders._fit import only_row, require_layout
from lego_core.records import Inputs, Layout, ModalitySchema, Tokens


@final
class Tabular(AbstractEncoder):
    """Read one row of measurements with a self-normalising network (SNN).

    SELU keeps activations near mean 0 and variance 1 from layer to layer without any
    normalisation over patients, so it suits sites with few of them. Clinical tables and
    gene panels are often predicted best by a plain weighted sum; a linear path beside
    the network lets the tokens carry that sum unharmed. What the two say is added to a
    learned constant of each token, for the LayerNorm behind the tokens would otherwise
    make a patient with small deviations look like one with large ones.

    Args:
        token_dim: Width C of the tokens.
        num_tokens: Number of tokens T the output is cut into.
        hidden_dims: Width of each hidden layer.
        dropout: Probability of alpha dropout after each hidden layer, in [0, 1).
        input_dropout: Probability of hiding a feature in training, in [0, 1); the guard
            against many features with few patients.
        missing_indicators: Whether the network is told which values were not measured.
            If not, an absent value looks like an average one.
        linear_skip: Whether a linear map of the features is added to the output.

    Raises:
        PlanError: From `build`, if the modality is not a table.

    Source:
        Klambauer, Unterthiner, Mayr, Hochreiter. "Self-Normalizing Neural Networks."
        NeurIPS 2017. arXiv:1706.02515.
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("table",)

    kind: Literal["tabular"] = "tabular"
    token_dim: int = Field(default=64, ge=1)
    num_tokens: int = Field(default=4, ge=1)
    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(64,), min_length=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    input_dropout: float = Field(default=0.3, ge=0, lt=1)
    missing_indicators: bool = True
    linear_skip: bool = True

    def build(self, schema: ModalitySchema) -> nn.Module:
        """Make the network for the features of the schema."""
        require_layout(schema, self.layouts, kind=self.kind)
        return _TabularModule(self, schema.num_features)


class _TabularModule(nn.Module):
    """The network of `Tabular`.

    Shapes:
        inputs   F features in 1 row
        returns  T tokens of width C
    """

    def __init__(self, settings: Tabular, num_features: int) -> None:
        super().__init__()
        self.token_dim = settings.token_dim
        self.num_tokens = settings.num_tokens
        self.missing_indicators = settings.missing_indicators
        num_outputs = settings.num_tokens * settings.token_dim
        num_inputs = num_features * (2 if settings.missing_indicators else 1)
        dims = (num_inputs, *settings.hidden_dims)
        # Of a value and its indicator one is always 0, so F inputs at a time are at work.
        fans = (num_features, *settings.hidden_dims)
        self.input_dropout = nn.Dropout(settings.input_dropout)
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(
                    _lecun(width, next_width, fan_in=fan), nn.SELU(), nn.AlphaDropout(settings.dropout)
                )
                for width, next_width, fan in zip(dims, settings.hidden_dims, fans, strict=False)
            )
        )
        self.out = _lecun(dims[-1], num_outputs, fan_in=dims[-1])
        nn.init.normal_(self.out.bias)
        self.skip = _lecun(num_inputs, num_outputs, fan_in=num_features) if settings.linear_skip else None

    def forward(self, inputs: Inputs) -> Tokens:
        """Add up the network, the linear path and the constants, and cut the sum into tokens."""
        features = self.features(inputs)
        output = self.out(self.hidden(features))
        if self.skip is not None:
            output = output + self.skip(features)
        values = output.unflatten(1, (self.num_tokens, self.token_dim))
        return Tokens(values, torch.ones_like(values[..., 0], dtype=torch.bool))

    def features(self, inputs: Inputs) -> Float[Tensor, "B I"]:
        """Give what the network reads: values, then (if wished) what was not measured."""
        values, measured = only_row(inputs)
        if self.missing_indicators:
            values = torch.cat([values, (~measured).to(values.dtype)], dim=1)
        return self.input_dropout(values)


def _lecun(num_inputs: int, num_outputs: int, *, fan_in: int) -> nn.Linear:
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.normal_(layer.weight, std=fan_in**-0.5)
    nn.init.zeros_(layer.bias)
    return layer
