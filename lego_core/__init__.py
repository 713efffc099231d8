"""The science of Lego Federation: blocks, merging, fusing. No network, no clock, no print.

For the ordinary case you need four names: build a `LegoBlock` per modality, train each with
`fit_block` on its own patients, put them together with `LegoMerge`, and, if some patients have
several modalities, fine-tune with `LegoFuse` and `fit_fused`.

Axes, one letter each, wherever a shape is given: B patients in a batch, T tokens or rows,
C token width, F features, L latents, D latent width, H heads, K outputs or time bins,
M modalities, S sites, P parameters, O columns of outcomes.
"""

from lego_core.block import LegoBlock
from lego_core.evaluation import score
from lego_core.fuse import LegoFuse
from lego_core.merge import LegoMerge
from lego_core.records import Cohort, Measurement, ModalitySchema, Outcome, PatientRecord
from lego_core.split import Split, split_by_patient
from lego_core.training import TrainingSettings, fit_block, fit_fused
from lego_core.trunk import LatentContract

__version__ = "0.1.0"

__all__ = [
    "Cohort",
    "LatentContract",
    "LegoBlock",
    "LegoFuse",
    "LegoMerge",
    "Measurement",
    "ModalitySchema",
    "Outcome",
    "PatientRecord",
    "Split",
    "TrainingSettings",
    "fit_block",
    "fit_fused",
    "score",
    "split_by_patient",
]
