"""What every encoder promises."""

from abc import abstractmethod
from typing import ClassVar

from torch import nn

from lego_core.component import Component
from lego_core.records import Layout, ModalitySchema


class AbstractEncoder(Component):
    """Settings of an encoder: one modality in, tokens out.

    `build` gives a module whose `forward(inputs: Inputs) -> Tokens` takes *normalised*
    inputs (mean 0, spread 1, and 0 where nothing was measured) of patients who all hold
    the modality. It must be free of state between calls, must not change its inputs, and
    must give one patient the same tokens whatever company the patient is in (so:
    LayerNorm or GroupNorm, never BatchNorm), padding rows included. The module says how
    wide its tokens are, in its attribute `token_dim`.

    Attributes:
        layouts: The layouts the encoder can read.
    """

    layouts: ClassVar[tuple[Layout, ...]]

    @abstractmethod
    def build(self, schema: ModalitySchema) -> nn.Module:
        """Make the module, with fresh weights from torch's global generator.

        Raises:
            PlanError: If the encoder does not fit the layout of the modality.
        """
