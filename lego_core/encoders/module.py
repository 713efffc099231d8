"""Any torch module as an encoder: timm, torchvision, transformers, or one's own."""

import importlib
from collections.abc import Callable
from typing import ClassVar, Literal, final

from pydantic import Field
from torch import nn

from lego_core.encoders._contract import AbstractEncoder
from lego_core.encoders._fit import require_layout
from lego_core.encoders._wrapping import ALL_LAYOUTS, CALL_ERRORS, wrap_module
from lego_core.errors import PlanError
from lego_core.records import Layout, ModalitySchema


@final
class Module(AbstractEncoder):
    """Use any `torch.nn.Module` that is installed at the sites, named in the plan.

    The module is fed plain tensors: a table as (B, F), an image as (B, F, height, width),
    a series or a bag as (B, T, F), never with padding: patients with equally many rows
    go through it together. A value that was not measured counts as an average one. What
    the module returns is found out with zeros before any patient is read: (B, C) is one
    token, (B, T, C) are tokens, (B, C, h, w) are h * w tokens in reading order; of an
    object that has a `last_hidden_state`, that is taken.

    Args:
        source: Where the module is made, as `package.module:callable`.
        arguments: Passed to the callable by name.

    Raises:
        PlanError: From `build`, if the source cannot be imported or called, does not make
            a module, or if the module does not take or return such tensors.

    Guarantees:
        Not independence in training: a BatchNorm inside makes a patient's tokens depend
        on the others in the batch while it trains, which breaks the promise of
        patient-level privacy. Its running statistics are part of the block's weights and
        are shared and aggregated as these are. Prefer a module with LayerNorm or GroupNorm.

    Source:
        Hemker, Simidjievski, Jamnik. "Multimodal Lego." ICLR 2025. arXiv:2405.19950,
        section 3 (a block wraps any encoder).
    """

    layouts: ClassVar[tuple[Layout, ...]] = ALL_LAYOUTS

    kind: Literal["module"] = "module"
    source: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    arguments: dict[str, bool | int | float | str] = Field(default_factory=dict)

    def build(self, schema: ModalitySchema) -> nn.Module:
        """Make the module and find out what it returns."""
        require_layout(schema, self.layouts, kind=self.kind)
        module = self._make(self._import())
        if not isinstance(module, nn.Module):
            raise PlanError(
                f"'{self.source}' gave a '{type(module).__name__}', and an encoder must be a torch.nn.Module "
                "(plan key encoder.source). Name a class or function that returns a module."
            )
        return wrap_module(module, schema)

    def _import(self) -> Callable[..., object]:
        module_name, name = self.source.split(":")
        try:
            made = getattr(importlib.import_module(module_name), name)
        except (ImportError, AttributeError) as error:
            raise PlanError(
                f"'{self.source}' cannot be imported (plan key encoder.source). Install its package at every "
                "site, and check the spelling: 'package.module:callable'.",
                local=str(error),
            ) from error
        if not callable(made):
            raise PlanError(
                f"'{self.source}' is a '{type(made).__name__}', which cannot be called (plan key "
                "encoder.source). Name a class or function that returns a torch.nn.Module."
            )
        return made

    def _make(self, maker: Callable[..., object]) -> object:
        try:
            return maker(**self.arguments)
        except CALL_ERRORS as error:
            names = ", ".join(f"'{name}'" for name in self.arguments) or "none"
            raise PlanError(
                f"'{self.source}' raised '{type(error).__name__}' when called with the arguments {names} "
                "(plan keys encoder.source and encoder.arguments). Compare them with its documentation.",
                local=str(error),
            ) from error
