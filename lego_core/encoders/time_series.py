"""Time series: visits in order, with the time between them and what was not measured."""

from typing import ClassVar, Literal, final

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from lego_core.encoders._contract import AbstractEncoder
from lego_core.encoders._fit import require_layout
from lego_core.per_patient import constant_of
from lego_core.records import Inputs, Layout, ModalitySchema, Tokens


@final
class TimeSeries(AbstractEncoder):
    """Read visits one after another with a gated recurrent network; one token per visit.

    At each visit the network sees, for every feature, the value (if it was not measured,
    the last one known, fading towards the average at a rate learned for the feature),
    whether it was measured, and for how long it has not been; and the time of the visit.
    It looks backwards only: a token never knows of later visits, so a new visit does not
    change what was said before, and padding at the end cannot be seen at all.

    Args:
        token_dim: Width C of the tokens and of the recurrent state.
        num_layers: Recurrent layers.
        dropout: Probability of dropping a feature between layers and in the tokens, in [0, 1).
        time_unit_days: Days that count as one; 1 suits months and years, 0.04 (an hour)
            suits intensive care.

    Raises:
        PlanError: From `build`, if the modality is not a series.

    Guarantees:
        A token depends on its own visit and on earlier ones, never on later ones.

    Source:
        Che, Purushotham, Cho, Sontag, Liu. "Recurrent Neural Networks for Multivariate
        Time Series with Missing Values." Scientific Reports 2018. arXiv:1606.01865 (the
        inputs of GRU-D; here a value fades by a power of time, so that one rate serves
        days and years).
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("series",)

    kind: Literal["time_series"] = "time_series"
    token_dim: int = Field(default=64, ge=1)
    num_layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    time_unit_days: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def build(self, schema: ModalitySchema) -> nn.Module:
        """Make the network for the features of the schema."""
        require_layout(schema, self.layouts, kind=self.kind)
        return TimeSeriesModule(self, schema.num_features)


class TimeSeriesModule(nn.Module):
    """The network of `TimeSeries`.

    Shapes:
        inputs   T visits of F features
        returns  T tokens of width C, one per visit; 0 in padding
    """

    learned_constants: ClassVar[tuple[str, ...]] = ("fading",)

    def __init__(self, settings: TimeSeries, num_features: int) -> None:
        super().__init__()
        self.token_dim = settings.token_dim
        self.time_unit_days = settings.time_unit_days
        self.fading = nn.Parameter(torch.full((num_features,), -2.0))
        self.recurrent = nn.GRU(
            3 * num_features + 1,
            settings.token_dim,
            num_layers=settings.num_layers,
            batch_first=True,
            dropout=settings.dropout if settings.num_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, inputs: Inputs) -> Tokens:
        """Walk through the visits once."""
        times = inputs.times_days / self.time_unit_days
        last, unmeasured_for = last_known(inputs.values, inputs.measured, times)
        log_gap = torch.log1p(unmeasured_for)
        fading = constant_of(self.fading, last.shape[0]).unsqueeze(1)  # (1 or B, 1, F)
        faded = last * torch.exp(-functional.softplus(fading) * log_gap)
        clock = torch.sign(times) * torch.log1p(times.abs())
        absent = (~inputs.measured).to(last.dtype)
        visits = torch.cat([faded, absent, log_gap, clock.unsqueeze(-1)], dim=-1)
        states, _ = self.recurrent(visits, self._start(visits))
        values = self.dropout(states).masked_fill(~inputs.present.unsqueeze(-1), 0.0)
        return Tokens(values, inputs.present)

    def _start(self, visits: Float[Tensor, "B T I"]) -> Float[Tensor, "layers B C"]:
        # Zeros, but made of the patients' tensors, or gradients patient by patient (vmap) would fail.
        zero = torch.zeros_like(visits[:, 0, :1])
        return zero.expand(self.recurrent.num_layers, -1, self.token_dim).contiguous()


def last_known(
    values: Float[Tensor, "B T F"], measured: Bool[Tensor, "B T F"], times: Float[Tensor, "B T"]
) -> tuple[Float[Tensor, "B T F"], Float[Tensor, "B T F"]]:
    """Carry every feature forward to the visits at which it was not measured.

    Args:
        values: Values by visit; 0 where not measured.
        measured: True where a value was measured.
        times: When each visit took place, in any unit.

    Returns:
        The last value known at each visit (0 before the first), and the time since it
        was measured (before the first: since the first visit), never negative.
    """
    visit = torch.arange(values.shape[1], device=values.device).view(1, -1, 1)
    source = torch.where(measured, visit, 0).cummax(dim=1).values  # (B, T, F): visit of the last value
    last = values.gather(1, source)
    spread = times.unsqueeze(-1).expand_as(values)
    return last, (spread - spread.gather(1, source)).clamp(min=0.0)
