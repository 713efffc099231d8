"""Feed a plain torch module and read what it returns as tokens."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from lego_core.encoders._fit import as_images, grid_of, only_row, require_layout
from lego_core.errors import PlanError
from lego_core.records import Inputs, Layout, ModalitySchema, Tokens

ALL_LAYOUTS: tuple[Layout, ...] = ("table", "series", "bag", "image")

# What foreign code raises when it is called with something it was not made for.
CALL_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

SOME_ROWS = 4


def wrap_module(module: nn.Module, schema: ModalitySchema) -> nn.Module:
    """Make an encoder of a module one already holds; see `Module` for what it is fed.

    Args:
        module: Used as it is, not copied. A lazy module takes its sizes here.
        schema: What the modality looks like.

    Returns:
        A module whose `forward(Inputs)` gives `Tokens`, with its `token_dim`.

    Raises:
        PlanError: If the module cannot take what it will be fed, or returns something
            that cannot be read as tokens.
    """
    require_layout(schema, ALL_LAYOUTS, kind="module")
    features = schema.num_features
    if schema.layout == "table":
        return _WrappedTable(module, _token_dim(module, [(2, features)]))
    if schema.layout == "image":
        grid = grid_of(schema, kind="module")
        return _WrappedImage(module, _token_dim(module, [(2, features, *grid)]), grid=grid)
    return _WrappedRows(module, _token_dim(module, [(2, SOME_ROWS, features), (2, 1, features)]))


class _WrappedTable(nn.Module):
    """Feed (B, F)."""

    def __init__(self, module: nn.Module, token_dim: int) -> None:
        super().__init__()
        self.token_dim = token_dim
        self.module = module

    def forward(self, inputs: Inputs) -> Tokens:
        """Run the module on the only row."""
        values, _ = only_row(inputs)
        return _all_present(_read(self.module(values)))


class _WrappedImage(nn.Module):
    """Feed (B, F, height, width)."""

    def __init__(self, module: nn.Module, token_dim: int, *, grid: tuple[int, int]) -> None:
        super().__init__()
        self.token_dim = token_dim
        self.module = module
        self.grid = grid

    def forward(self, inputs: Inputs) -> Tokens:
        """Run the module on the images."""
        return _all_present(_read(self.module(as_images(inputs, self.grid))))


class _WrappedRows(nn.Module):
    """Feed (B, T, F), patients with equally many rows together, so that no padding is seen.

    With `patients_together`, all are cut to each length in turn, and everybody's own is kept.
    """

    def __init__(self, module: nn.Module, token_dim: int) -> None:
        super().__init__()
        self.token_dim = token_dim
        self.module = module
        self.patients_together = False

    def forward(self, inputs: Inputs) -> Tokens:
        """Run the module once per length, and put the patients back in order."""
        lengths = inputs.present.sum(dim=1)
        if self.patients_together or not len(lengths):
            return self._all_at_every_length(inputs, lengths)
        groups = [(lengths == length).nonzero().squeeze(1) for length in lengths.unique()]
        outputs = [_read(self.module(inputs.values[group, : int(lengths[group[0]])])) for group in groups]
        longest = max(output.shape[1] for output in outputs)
        padded = [nn.functional.pad(output, (0, 0, 0, longest - output.shape[1])) for output in outputs]
        counts = torch.cat([lengths.new_full((len(output),), output.shape[1]) for output in outputs])
        back = torch.cat(groups).argsort()
        present = torch.arange(longest, device=lengths.device) < counts[back].unsqueeze(1)
        return Tokens(torch.cat(padded)[back], present)

    def _all_at_every_length(self, inputs: Inputs, lengths: Int[Tensor, "B"]) -> Tokens:
        outputs = {n: _read(self.module(inputs.values[:, :n])) for n in lengths.unique().tolist()}
        longest = max((output.shape[1] for output in outputs.values()), default=1)
        values = inputs.values.new_zeros(len(lengths), longest, self.token_dim)
        present = torch.zeros_like(values[..., 0], dtype=torch.bool)
        for length, output in outputs.items():
            own, count = lengths == length, output.shape[1]
            padded = nn.functional.pad(output, (0, 0, 0, longest - count))
            values = torch.where(own[:, None, None], padded, values)
            present = present | (own[:, None] & (torch.arange(longest, device=own.device) < count))
        return Tokens(values, present)


def _all_present(values: Float[Tensor, "B T C"]) -> Tokens:
    return Tokens(values, torch.ones_like(values[..., 0], dtype=torch.bool))


def _read(returned: object) -> Shaped[Tensor, "B T C"]:
    output = getattr(returned, "last_hidden_state", returned)
    match output:
        case Tensor(ndim=2):
            return output.unsqueeze(1)
        case Tensor(ndim=3):
            return output
        case Tensor(ndim=4):
            return output.flatten(2).transpose(1, 2)
    raise _unreadable(output)


def _unreadable(output: object) -> PlanError:
    what = f"a '{type(output).__name__}'"
    if isinstance(output, Tensor):
        what = f"a tensor of shape {tuple(output.shape)} and type '{output.dtype}'"
    return PlanError(
        f"The module returned {what} for 2 patients, and tokens are read from a tensor of floats of shape "
        "(B, C), (B, T, C) or (B, C, h, w), or from an object with such a 'last_hidden_state' (plan key "
        "encoder.source). Wrap the module in one that returns such a tensor."
    )


def _token_dim(module: nn.Module, shapes: Sequence[tuple[int, ...]]) -> int:
    outputs = [_dry_run(module, shape) for shape in shapes]
    for output in outputs:
        if len(output) != 2 or not output.is_floating_point() or not output.numel():
            raise _unreadable(output)
    widths = [output.shape[-1] for output in outputs]
    if len(set(widths)) > 1:
        raise PlanError(
            f"The module gave tokens of width {widths[0]} for {SOME_ROWS} rows and of width {widths[1]} for "
            "1 row (a trial with zeros; plan key encoder.source). Let its last axis be the width of a "
            "token, whatever the number of rows."
        )
    return widths[0]


def _dry_run(module: nn.Module, shape: tuple[int, ...]) -> Shaped[Tensor, "B T C"]:
    """Feed two patients of zeros, in evaluation mode, and leave every part in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    weight = next(module.parameters(), None)
    module.eval()
    try:
        with torch.no_grad():
            returned = module(torch.zeros(shape, device=None if weight is None else weight.device))
    except CALL_ERRORS as error:
        raise PlanError(
            f"The module raised '{type(error).__name__}' when it was fed zeros of shape {shape} (a trial "
            "before any patient is read; plan key encoder.source). Make it take a tensor of this shape.",
            local=str(error),
        ) from error
    finally:
        for part, was_training in modes:
            part.training = was_training
    return _read(returned)
