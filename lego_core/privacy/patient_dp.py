"""Noise in the training itself, so that no weights tell whether a given patient was there."""

from collections.abc import Mapping, Sequence
from typing import Literal, final

from pydantic import Field
from torch import Tensor

from lego_core.errors import PrivacyError
from lego_core.privacy._contract import AbstractPrivacy, Declared, ProtectedUpdate
from lego_core.privacy.no_privacy import NoPrivacy
from lego_core.update import BlockUpdate

DELTA = 1e-5  # at most; a site with more than 10,000 patients takes a tenth of one over their number


@final
class PatientDp(AbstractPrivacy):
    """Train with patient-level differential privacy at each site (DP-SGD).

    In each step every training patient takes part with the same probability, the gradient of each is
    clipped to `clip_norm`, and noise of `noise_multiplier` times that norm is added to their sum.
    `fedlego plan-privacy` tells which noise an epsilon asks for.

    Args:
        epsilon: The budget of a site: all its private training together, over rounds, runs, blocks
            and fused models, stops before more is spent.
        delta: Chance at which epsilon may not hold. If not given, the site takes the smaller of
            1e-5 and 1 / (10 N) for its N training patients.
        noise_multiplier: Standard deviation of the noise, in clip norms.
        clip_norm: Largest norm of a patient's gradient. Where it is below most gradients, patients count
            alike, and AdamW does not care for its size.
        batch_size: Patients B expected in a step; each of N takes part with probability B / N.
        steps: Steps of each local training, that is, of each round.
        trains: `encoders` leaves what all blocks have in common, and the heads, as they began: noise
            on many weights that say little of a patient would drown the few that do. Or
            `everything`.

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
    epsilon: float = Field(gt=0, allow_inf_nan=False)
    delta: float | None = Field(default=None, gt=0, lt=1)
    noise_multiplier: float = Field(gt=0, allow_inf_nan=False)
    clip_norm: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    batch_size: int = Field(ge=1)
    steps: int = Field(ge=1)
    trains: Literal["encoders", "everything"] = "encoders"

    @property
    def shows_individual_updates(self) -> bool:
        """The server sees every update, with its noise."""
        return True

    @property
    def claim(self) -> str:
        """What the report says."""
        delta = "min(1e-5, 1/(10 N)) for N training patients" if self.delta is None else f"{self.delta:g}"
        return (
            "Patient-level differential privacy at each site: all weights that a site sent are "
            f"(epsilon, delta)-differentially private with epsilon at most {self.epsilon:g} and delta = "
            f"{delta}. The unit is one training patient of that site, with everything measured of this "
            "patient, added or taken away; the site's ledger counts all rounds, runs, blocks and fused "
            "models together. Epsilon does not cover the number of a site's training patients, the sums "
            "agreed on before training (normalisation, time bins, base rates), Gram matrices, or the scores "
            "on validation and test patients and what was chosen by them."
        )

    def delta_for(self, num_patients: int) -> float:
        """The delta of a site with so many training patients, in all modalities together."""
        return self.delta if self.delta is not None else default_delta(num_patients)

    def sampling_rate(self, num_patients: int) -> float:
        """With which probability each of so many training patients takes part in a step.

        Raises:
            PrivacyError: If there are fewer than a batch is expected to have.
        """
        if num_patients < self.batch_size:
            raise PrivacyError(
                f"A step of private training expects {self.batch_size} patients (privacy.batch-size), and "
                "this site has fewer training patients for this model. Plan smaller batches, or leave this "
                "modality out of site.toml.",
                local=f"{num_patients} training patients",
            )
        return self.batch_size / num_patients

    def declared(self, like: Mapping[str, Tensor]) -> Declared:
        """Every trained tensor under its own name, as float32."""
        return _open().declared(like)

    def protect(self, update: BlockUpdate, like: Mapping[str, Tensor]) -> ProtectedUpdate:
        """Change nothing: the noise is in the weights already."""
        return _open().protect(update, like)

    def reveal(self, updates: Sequence[ProtectedUpdate], like: Mapping[str, Tensor]) -> list[BlockUpdate]:
        """Take each update as it came."""
        return _open().reveal(updates, like)


def default_delta(num_patients: int) -> float:
    """The smaller of 1e-5 and a tenth of one over the number of patients."""
    return min(DELTA, 1 / (10 * max(1, num_patients)))


def _open() -> NoPrivacy:
    return NoPrivacy(kind="no-privacy")
