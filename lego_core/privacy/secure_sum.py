"""The server sees sums over sites, and of no site by itself."""

from typing import Literal, final

from pydantic import model_validator

from lego_core.privacy._contract import AbstractPrivacy, NoiseTerms, SumTerms


@final
class SecureSum(SumTerms, AbstractPrivacy):
    """Hide each site's numbers under masks that vanish only from the sum of at least three sites.

    Updates of blocks and of the fused model, sums for normalisation, counts of outcomes, Gram
    matrices, losses and scores all go this way. The mathematics stands in `fsa1`.

    Args:
        too_few: What becomes of a modality that fewer sites train than a sum needs: `refuse` ends the
            run; `keep-local` goes on without it; `patient-dp` has these sites train with noise, and
            their updates travel with it, one by one. In fuse rounds a block that too few sites hold
            ends the run under `refuse`, and stays as it is otherwise.
        alone: For `patient-dp`: the modalities that may go this way. A site lets no other go it,
            whatever the coordinator says of how many sites there are.
        patient_dp: The noise, likewise.

    Guarantees:
        If no more than `most_corrupt` sites of a sum work with a coordinator who may lie, they learn of
        the honest sites only the sum over those who took part, of no fewer than `min_survivors`, once
        for the same weights.
        Not what such a sum itself gives away, not a right sum from a coordinator who lies, and not a
        true update from a site that lies.

    Source:
        Bonawitz et al. "Practical Secure Aggregation for Privacy-Preserving Machine Learning."
        CCS 2017. doi:10.1145/3133956.3133982.
    """

    kind: Literal["secure-sum"]  # no default: nobody gets this plan without saying so
    too_few: Literal["refuse", "keep-local", "patient-dp"] = "refuse"
    alone: tuple[str, ...] = ()
    patient_dp: NoiseTerms | None = None

    @model_validator(mode="after")
    def _check_noise(self) -> "SecureSum":
        wanted = self.too_few == "patient-dp"
        if wanted != (self.patient_dp is not None) or wanted != bool(self.alone):
            raise ValueError(
                f"too-few is '{self.too_few}', the table [privacy.patient-dp] is "
                f"{'there' if self.patient_dp else 'absent'} and alone names {list(self.alone)}; the table "
                "says how much noise the sites of small groups train with, and alone which modalities may "
                "be such, so give all three or none"
            )
        return self

    @property
    def sum_terms(self) -> SumTerms:
        """All numbers are summed unseen."""
        return self

    @property
    def noise_terms(self) -> None:
        """Sites whose updates are summed train without noise."""
        return

    @property
    def small_groups(self) -> Literal["refuse", "keep-local", "patient-dp"]:
        """As the plan says."""
        return self.too_few

    @property
    def travel_alone(self) -> tuple[str, ...]:
        """As the plan says."""
        return self.alone

    @property
    def noise_alone(self) -> NoiseTerms | None:
        """The noise of sites whose updates travel one by one."""
        return self.patient_dp

    @property
    def claim(self) -> str:
        """What the report says."""
        if self.patient_dp is None:
            return self.sum_claim
        return (
            f"{self.sum_claim} Where fewer sites trained one of {list(self.alone)}, their updates were seen "
            f"one by one, with noise in the training. {self.patient_dp.noise_claim}"
        )
