"""Are these numbers in the units of the run? A look at how far they lie from those it was trained on."""

from typing import final

import torch
from torch import Tensor

from lego_core.block import Blocks
from lego_core.records import Batch
from lego_core.statistics import FARTHEST

FEWEST_VALUES = 3
SHARE = 0.5


@final
class UnitWatch:
    """Count, batch by batch, the values that no unit of the run explains.

    Args:
        blocks: The blocks, which know mean and spread of every feature over the run's training patients.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.counts: dict[str, Tensor] = {}

    def look(self, batch: Batch) -> None:
        """Count the values measured, and those too far from the mean, by feature."""
        for name, inputs in batch.inputs.items():
            block = self.blocks[name]
            spreads = ((inputs.values - block.feature_mean) / block.feature_stddev).abs()
            far = (spreads > FARTHEST) & inputs.measured
            seen = torch.stack([inputs.measured.sum(dim=(0, 1)), far.sum(dim=(0, 1))])
            self.counts[name] = self.counts.get(name, 0) + seen

    def notices(self) -> list[str]:
        """A sentence about every modality that has features of which most values lie too far."""
        said = []
        for name, (measured, far) in self.counts.items():
            odd = (measured >= FEWEST_VALUES) & (far > SHARE * measured)
            features = [
                self.blocks[name].schema.features[index] for index in odd.nonzero().flatten().tolist()
            ]
            if features:
                listed = ", ".join(f"'{one}'" for one in features[:10]) + (
                    " and more" if features[10:] else ""
                )
                said.append(
                    f"Modality '{name}': most values of {listed} lie more than {FARTHEST:g} standard "
                    "deviations from the mean of the run's training patients. The model takes each for one "
                    f"that is just {FARTHEST:g} away, as in training. Check that they are in the run's units."
                )
        return said
