"""Several latents, heads or trunks, and one that stands for them: merge methods, no training.

A latent merge works on what blocks say about a patient, at every prediction. A weight merge
works on the blocks themselves, once.
"""

from typing import Annotated

from pydantic import Field

from lego_core.merging._contract import AbstractLatentMerge, AbstractWeightMerge
from lego_core.merging.dare import Dare
from lego_core.merging.harmonic_mean import HarmonicMean
from lego_core.merging.linear import Linear
from lego_core.merging.mean import Mean
from lego_core.merging.modality_arithmetic import ModalityArithmetic
from lego_core.merging.regmean import RegMean
from lego_core.merging.slerp import Slerp
from lego_core.merging.ties import Ties

LatentMerge = Annotated[HarmonicMean | Mean, Field(discriminator="kind")]
WeightMerge = Annotated[
    Slerp | Linear | ModalityArithmetic | RegMean | Ties | Dare, Field(discriminator="kind")
]

__all__ = [
    "AbstractLatentMerge",
    "AbstractWeightMerge",
    "Dare",
    "HarmonicMean",
    "LatentMerge",
    "Linear",
    "Mean",
    "ModalityArithmetic",
    "RegMean",
    "Slerp",
    "Ties",
    "WeightMerge",
]
