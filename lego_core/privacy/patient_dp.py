"""Noise in the training itself, so that no weights tell whether a given patient was there."""

from typing import Literal, final

from lego_core.privacy._contract import AbstractPrivacy, NoiseTerms, SumTerms


@final
class PatientDp(NoiseTerms, AbstractPrivacy):
    """Train with patient-level differential privacy at each site (DP-SGD).

    Args:
        secure_sum: If given, updates, statistics and scores are summed unseen besides, wherever enough
            sites contribute; models of fewer sites travel with their noise alone.

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
    def claim(self) -> str:
        """What the report says."""
        sums = f" {self.secure_sum.sum_claim}" if self.secure_sum else ""
        return f"Patient-level differential privacy at each site. {self.noise_claim}{sums}"
