"""Made-up patients, for tests and for rehearsals whose truth is known."""

from pathlib import Path
from typing import Literal, final

import numpy as np
from pydantic import Field

from lego_core.datasets._assembly import Measured, assemble
from lego_core.datasets._contract import AbstractDataset
from lego_core.datasets._synthetic_modalities import (
    SyntheticImage,
    SyntheticModality,
    SyntheticSeries,
    SyntheticTable,
)
from lego_core.datasets._synthetic_outcomes import SyntheticOutcome, SyntheticSurvival
from lego_core.records import Cohort


@final
class Synthetic(AbstractDataset):
    """Patients drawn at random, with any number of modalities of any layout.

    The story, with K risks (one for survival and for two classes):

    1. Every patient has a common factor `c`, K numbers of mean 0 and spread 1.
    2. Every modality m has a factor `f_m = sqrt(shared) c + sqrt(1 - shared) own_m`, where
       `own_m` is drawn for it alone: modalities tell partly the same and partly new things.
    3. The risk is the sum of `strength_m f_m`, and the outcome is drawn from the risk.
    4. Modality m shows `f_m`, and nothing else of the patient, through noise; every hospital
       measures too high or too low by an offset of its own, drawn with spread `hospital_shift`.
    5. Single values and whole modalities get lost, by chance alone; nobody loses every modality.

    Everything is drawn by one generator from `seed`, so equal settings give equal patients.

    Args:
        patients: How many.
        hospitals: How many hospitals they are spread over, evenly but for chance.
        seed: Another seed gives other patients.
        shared: How alike the factors of modalities are: their correlation, from 0 to 1.
        hospital_shift: Spread of the offsets between hospitals.
        outcome: What is to be predicted.
        modalities: By name, each with its layout: `table`, `series`, `bag` or `image`.

    Source:
        Common and own factors after Tucker. "An inter-battery method of factor analysis."
        Psychometrika 23(2), 1958. doi:10.1007/BF02289009. Survival times after Bender, Augustin,
        Blettner. Statistics in Medicine 24(11), 2005. doi:10.1002/sim.2059.
    """

    kind: Literal["synthetic"] = "synthetic"
    patients: int = Field(default=300, ge=2)
    hospitals: int = Field(default=3, ge=1)
    seed: int = Field(default=0, ge=0)
    shared: float = Field(default=0.3, ge=0, le=1)
    hospital_shift: float = Field(default=0.0, ge=0)
    outcome: SyntheticOutcome = SyntheticSurvival()
    modalities: dict[str, SyntheticModality] = Field(
        default={"clinical": SyntheticTable(), "laboratory": SyntheticSeries(), "scan": SyntheticImage()},
        min_length=1,
    )

    def load(self, folder: Path | None = None) -> Cohort:  # noqa: ARG002 - the data need no folder
        rng = np.random.default_rng(self.seed)
        ids = [f"patient-{number:05d}" for number in range(1, self.patients + 1)]
        hospitals = rng.integers(self.hospitals, size=self.patients)
        factors = self._draw_factors(rng)
        risks = sum(m.strength * factor for m, factor in zip(self.modalities.values(), factors, strict=True))
        outcomes = self.outcome.draw(np.asarray(risks), rng)
        held = self._draw_held(rng)
        measured: dict[str, Measured] = {}
        for index, (name, modality) in enumerate(self.modalities.items()):
            offsets = self.hospital_shift * rng.standard_normal(self.hospitals)[hospitals]
            shown = modality.show(ids, factors[index], offsets=offsets, rng=rng)
            measured[name] = shown.of(
                patient for patient, holds in zip(ids, held[index], strict=True) if holds
            )
        return assemble(
            ids, outcomes, modalities=measured, hospitals=[f"hospital-{index + 1}" for index in hospitals]
        )

    def _draw_factors(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the factors (M, B, K) of steps 1 and 2."""
        shape = (self.patients, self.outcome.num_risks)
        common = rng.standard_normal(shape)
        own = rng.standard_normal((len(self.modalities), *shape))
        return np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * own

    def _draw_held(self, rng: np.random.Generator) -> np.ndarray:
        """Draw who has what (M, B); whoever would be left with nothing keeps one modality."""
        luck = rng.random((len(self.modalities), self.patients))
        absent = np.array([modality.absent for modality in self.modalities.values()])[:, None]
        kept = luck >= absent
        return kept | ((luck == luck.max(axis=0)) & ~kept.any(axis=0))
