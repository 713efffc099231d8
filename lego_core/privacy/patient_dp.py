"""Noise in the training itself, so that no weights tell whether a given patient was there."""

from typing import Literal, final

from pydantic import model_validator

from lego_core.privacy._contract import AbstractPrivacy, NoiseTerms, SumTerms


@final
class PatientDp(NoiseTerms, AbstractPrivacy):
    """Train with patient-level differential privacy at each site (DP-SGD).

    Args:
        secure_sum: If given, updates, statistics and scores are summed unseen besides, wherever enough
            sites contribute.
        alone: With `secure_sum`: modalities whose updates may travel one by one, with their noise, if too
            few sites train them for a sum. A modality of too few sites that is not named ends the run.

    Guarantees:
        At each site the weights it sends are (epsilon, delta)-differentially private for adding or
        taking away one training patient with everything measured of this patient. It holds
        against the coordinator, the other sites and whoever gets the model.
        Not covered: the number of training patients; the sums that are agreed on before training
        (normalisation, time bins, base rates) and Gram matrices; the scores on validation and test
        patients, and what is chosen by them.

    Source:
        Abadi et al. "Deep Learning with Differential Privacy." CCS 2016. arXiv:1607.00133.
    """

    kind: Literal["patient-dp"]  # no default: nobody gets this plan without saying so
    secure_sum: SumTerms | None = None
    alone: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_alone(self) -> "PatientDp":
        if self.alone and self.secure_sum is None:
            raise ValueError(
                f"alone names {list(self.alone)}, whose updates may travel outside of sums, and nothing is "
                "summed; add the table [privacy.secure-sum], or take alone out"
            )
        return self

    @property
    def sum_terms(self) -> SumTerms | None:
        """Numbers are summed unseen if the plan says so."""
        return self.secure_sum

    @property
    def noise_terms(self) -> NoiseTerms:
        """Every site's training has noise."""
        return self

    @property
    def small_groups(self) -> Literal["patient-dp"]:
        """Models of few sites travel with their noise."""
        return "patient-dp"

    @property
    def travel_alone(self) -> tuple[str, ...]:
        """As the plan says."""
        return self.alone

    @property
    def sums_table(self) -> str:
        """Sums are an addition to the noise here, with a table of their own."""
        return "privacy.secure-sum"

    @property
    def claim(self) -> str:
        """What the report says."""
        sums = f" {self.secure_sum.sum_claim}" if self.secure_sum else ""
        return f"Patient-level differential privacy at each site. {self.noise_claim}{sums}"
