"""A recurrent network as one operation of the graph, so that a series may have any number of visits."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

NAME = "lego_federation::gated_recurrence"


class WholeRecurrence(nn.Module):
    """What an `nn.GRU` of one direction computes from zeros, one operation per layer.

    PyTorch's exporter would walk through the visits of its example, and so fix their number.

    Args:
        recurrent: The network, with biases, patients first.
    """

    def __init__(self, recurrent: nn.GRU) -> None:
        super().__init__()
        self.num_layers = recurrent.num_layers
        self.layers = nn.ModuleList(_Layer(recurrent, index) for index in range(recurrent.num_layers))

    def forward(self, visits: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """States at every visit; the start is what comes back as it is, since nobody reads it."""
        for layer in self.layers:
            visits = layer(visits)
        return visits, start


class _Layer(nn.Module):
    def __init__(self, recurrent: nn.GRU, index: int) -> None:
        super().__init__()
        names = [f"{name}_l{index}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        weights = [getattr(recurrent, name).detach().clone() for name in names]
        self.input_weight, self.state_weight = nn.Buffer(weights[0]), nn.Buffer(weights[1])
        self.input_bias, self.state_bias = nn.Buffer(weights[2]), nn.Buffer(weights[3])

    def forward(self, visits: Tensor) -> Tensor:
        weights = (self.input_weight, self.state_weight, self.input_bias, self.state_bias)
        return recurrence()(visits, *weights)


@cache
def recurrence() -> Any:
    """The operation: visits (B, T, I) and the weights of one layer, states (B, T, C) back."""

    def run(visits: Tensor, own: Tensor, before: Tensor, own_bias: Tensor, before_bias: Tensor) -> Tensor:
        start = visits.new_zeros(1, visits.shape[0], before.shape[1])
        weights = [own, before, own_bias, before_bias]
        return torch.gru(visits, start, weights, True, 1, 0.0, False, False, True)[0]

    def only_shapes(visits: Tensor, _own: Tensor, before: Tensor, *_biases: Tensor) -> Tensor:
        return visits.new_empty(visits.shape[0], visits.shape[1], before.shape[1])

    made = torch.library.custom_op(NAME, run, mutates_args=())
    made.register_fake(only_shapes)
    return made


def as_onnx(op: Any) -> dict[Any, Any]:
    """How it is written in ONNX, where the gates are update, reset, new; PyTorch's are reset, update, new."""

    def gated(visits: Any, own: Any, before: Any, own_bias: Any, before_bias: Any) -> Any:
        def in_order(tensor: Any) -> Any:
            reset, update, new = op.Split(tensor, num_outputs=3, axis=0)
            return op.Concat(update, reset, new, axis=0)

        bias = op.Concat(in_order(own_bias), in_order(before_bias), axis=0)
        states, _ = op.GRU(
            op.Transpose(visits, perm=[1, 0, 2]),
            op.Unsqueeze(in_order(own), [0]),
            op.Unsqueeze(in_order(before), [0]),
            op.Unsqueeze(bias, [0]),
            hidden_size=before.shape[1],
            linear_before_reset=1,
        )
        return op.Transpose(op.Squeeze(states, [1]), perm=[1, 0, 2])

    recurrence()
    return {torch.ops.lego_federation.gated_recurrence.default: gated}
