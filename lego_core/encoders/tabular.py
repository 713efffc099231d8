"""Tables: a self-normalising network, a linear path, squares and waves."""

import math
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, final

import torch
from pydantic import Field
from torch import Tensor, nn

from lego_core.encoders._contract import AbstractEncoder
from lego_core.encoders._fit import only_row, require_layout
from lego_core.per_patient import constant_of
from lego_core.records import Inputs, Layout, ModalitySchema, Tokens

# How loudly a patient speaks over the constants of the tokens; 1 and 0.1 predicted no better.
PATIENT_SHARE = 0.3
FARTHEST = 3.0  # spreads from the mean; what lies beyond says no more, and its square would shout
SQUARE_SHARE = 1 / 3  # brings squares to about the size of the values
WAVE_SUM = 50.0  # heights of all waves together: AdamW moves many as fast as few, so many are made low
WAVE_FREQUENCY = 1.6  # radians that a typical wave turns by over one spread of all features


@final
class Tabular(AbstractEncoder):
    """Read one row of measurements with a self-normalising network (SNN).

    SELU keeps activations near mean 0 and variance 1 from layer to layer without any
    normalisation over patients, so it suits sites with few of them. Clinical tables and
    gene panels are often predicted best by a plain weighted sum; a linear path beside
    the network lets the tokens carry that sum unharmed. Squares let it bend: of many vital
    signs and blood values both the high and the low are bad. What the two paths say is added,
    at a fraction of its size, to a learned constant of each token, for the LayerNorm behind
    the tokens would otherwise make small deviations look like large ones.

    Both paths start at zero, so that untrained tokens are the same for every patient: with
    many features and few patients, a random start is a random opinion of each of them, which
    a short training does not get rid of.

    Args:
        token_dim: Width C of the tokens.
        num_tokens: Number of tokens T the output is cut into.
        hidden_dims: Width of each hidden layer; without effect where there are waves.
        dropout: Probability of alpha dropout after each hidden layer, in [0, 1).
        input_dropout: Probability of hiding a feature in training, in [0, 1); the guard
            against many features with few patients.
        missing_indicators: Whether the tokens learn what it means that a feature was not
            measured. They start from taking an absent value for an average one, and
            add a learned weight per absent feature; without it they stay there.
        linear_skip: Whether a linear map of the features is added to the output.
        squares: Whether each feature comes with its square. They help where there are more
            patients than features; for genes, switch them off.
        waves: Number of random Fourier features, in place of the hidden layers: cosines of random
            sums of all features and of what is absent. A weighted sum of many is a smooth
            function of how alike patients are, so they tell how features act together. They pay
            where there are far more patients than features; 0 keeps the hidden layers.

    Raises:
        PlanError: From `build`, if the modality is not a table.

    Source:
        Klambauer, Unterthiner, Mayr, Hochreiter. "Self-Normalizing Neural Networks."
        NeurIPS 2017. arXiv:1706.02515. Waves: Rahimi, Recht. "Random Features for Large-Scale
        Kernel Machines." NeurIPS 2007.
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
    squares: bool = True
    waves: int = Field(default=0, ge=0)

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

    learned_constants: ClassVar[tuple[str, ...]] = ("constant",)

    def __init__(self, settings: Tabular, num_features: int) -> None:
        super().__init__()
        self.token_dim = settings.token_dim
        self.squares = settings.squares
        num_outputs = settings.num_tokens * settings.token_dim
        num_inputs = 2 * num_features if settings.squares else num_features
        widths = (num_inputs, *(() if settings.waves else settings.hidden_dims))
        num_waved = 2 * num_features if settings.missing_indicators else num_features
        self.waves = _Waves(num_waved, settings.waves) if settings.waves else None
        self.input_dropout = nn.Dropout(settings.input_dropout)
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(_lecun(*sizes), nn.SELU(), nn.AlphaDropout(settings.dropout))
                for sizes in pairwise(widths)
            )
        )
        self.out = _zeros(settings.waves or widths[-1], num_outputs)
        self.skip = _zeros(num_inputs, num_outputs) if settings.linear_skip else None
        self.absent = _zeros(num_features, num_outputs) if settings.missing_indicators else None
        self.constant = nn.Parameter(torch.randn(settings.num_tokens, settings.token_dim))

    def forward(self, inputs: Inputs) -> Tokens:
        """Add up the network, the linear paths and the constants, and cut the sum into tokens."""
        values, measured = only_row(inputs)
        values = values.clamp(-FARTHEST, FARTHEST)
        absent = (~measured).to(values.dtype)
        squares = [SQUARE_SHARE * values.square()] if self.squares else []
        features = self.input_dropout(torch.cat([values, *squares], dim=1))
        if self.waves is None:
            output = self.out(self.hidden(features))
        else:
            flags = [absent] if self.absent is not None else []
            output = self.out(self.waves(self.input_dropout(torch.cat([values, *flags], dim=1))))
        if self.skip is not None:
            output = output + self.skip(features)
        if self.absent is not None:
            output = output + self.absent(self.input_dropout(absent))
        constant = constant_of(self.constant, values.shape[0])  # (1 or B, T, C)
        tokens = constant + PATIENT_SHARE * output.unflatten(1, constant.shape[1:])
        return Tokens(tokens, torch.ones_like(tokens[..., 0], dtype=torch.bool))


class _Waves(nn.Module):
    """Cosines of random sums of the inputs, low enough to be learned slowly."""

    def __init__(self, num_inputs: int, num_waves: int) -> None:
        super().__init__()
        self.directions = nn.Linear(num_inputs, num_waves)
        nn.init.normal_(self.directions.weight, std=WAVE_FREQUENCY * num_inputs**-0.5)
        nn.init.uniform_(self.directions.bias, 0.0, 2 * math.pi)
        self.height = WAVE_SUM / num_waves

    def forward(self, inputs: Tensor) -> Tensor:
        return self.height * torch.cos(self.directions(inputs))


def _lecun(num_inputs: int, num_outputs: int) -> nn.Linear:
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.normal_(layer.weight, std=num_inputs**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


def _zeros(num_inputs: int, num_outputs: int) -> nn.Linear:
    layer = nn.Linear(num_inputs, num_outputs, bias=False)
    nn.init.zeros_(layer.weight)
    return layer
