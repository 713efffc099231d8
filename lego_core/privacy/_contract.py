"""What every privacy plan promises."""

from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field

from lego_core.component import Component
from lego_core.errors import PrivacyError

FEWEST_IN_A_SUM = 3  # of two sites, each would learn the other's numbers from the sum
EVERYBODY = 64  # sites up to which each shares its secrets with all others
DELTA = 1e-5  # at most; a site with more than 10,000 patients takes a tenth of one over their number


class SumTerms(Component):
    """How sites add their numbers up unseen.

    Args:
        clip_norm: Largest L2 norm of a site's update, per part of a model; a longer one is shortened to it.
        weight_cap: Most patients a site may train on; it decides how finely updates are written.
        max_corrupt: How many sites may work with the coordinator before anybody's numbers are seen. If
            not given, of n sites in a sum a third, (n - 1) / 3; among more than 64, where sites
            share with some neighbours only, n / 20; rounded down.
        min_survivors: Fewest sites whose sum may be opened.
        buckets: Into how many groups the sites of a sum are drawn by lot, each group with a sum of its
            own, for aggregations that must compare updates; fewer if there are not enough sites for
            so many. They stay as drawn: drawn anew in each round, they could be solved for single
            sites. 1: the server sees one sum over all.

    Source:
        Bonawitz et al. "Practical Secure Aggregation for Privacy-Preserving Machine Learning."
        CCS 2017. doi:10.1145/3133956.3133982. Here with signed keys and confirmed survivors.
    """

    clip_norm: float = Field(default=16.0, gt=0)
    weight_cap: int = Field(default=1000, ge=1)
    max_corrupt: int | None = Field(default=None, ge=0)
    min_survivors: int = Field(default=FEWEST_IN_A_SUM, ge=FEWEST_IN_A_SUM)
    buckets: int = Field(default=1, ge=1)

    @property
    def fewest(self) -> int:
        """Fewest sites with which a sum can begin: two at least must be honest."""
        return max(self.min_survivors, (self.max_corrupt or 0) + 2)

    def most_corrupt(self, num_sites: int) -> int:
        """How many of so many sites may work with the coordinator."""
        if self.max_corrupt is not None:
            return self.max_corrupt
        return (num_sites - 1) // 3 if num_sites <= EVERYBODY else num_sites // 20

    def fewest_survivors(self, num_sites: int) -> int:
        """Fewest of so many sites whose sum may be opened: two at least must be honest."""
        return max(self.min_survivors, self.most_corrupt(num_sites) + 2)

    @property
    def sum_claim(self) -> str:
        """What a sum protects, in whole sentences."""
        third = f"up to a third of a sum's other sites (of more than {EVERYBODY}, a twentieth)"
        others = third if self.max_corrupt is None else f"up to {self.max_corrupt} sites"
        together = "" if self.max_corrupt == 0 else f", also together with {others},"
        return (
            f"The coordinator{together} saw no single site's updates, counts, losses or scores, only their "
            f"sums over at least {self.fewest} sites. These sums, and the model that follows from "
            "them, are not anonymous by that: they can still tell of patients, most of all of those who are "
            "unlike the others. Who took part, with what kinds of data and how many patients to the nearest "
            "ten below, was seen."
        )

    @property
    def clip(self) -> str:
        """The longest norm as a session writes it: a float32, in hexadecimal."""
        return float(np.float32(self.clip_norm)).hex()


class NoiseTerms(Component):
    """How much noise a site puts into its training (DP-SGD), and what it may cost.

    In each step every training patient takes part with the same probability, the gradient of each is
    clipped, and noise is added to their sum. `fedlego plan-privacy` tells which noise an epsilon
    asks for.

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

    Source:
        Abadi et al. "Deep Learning with Differential Privacy." CCS 2016. arXiv:1607.00133.
    """

    epsilon: float = Field(gt=0, allow_inf_nan=False)
    delta: float | None = Field(default=None, gt=0, le=1e-3)
    noise_multiplier: float = Field(gt=0, allow_inf_nan=False)
    clip_norm: float = Field(default=0.01, gt=0, allow_inf_nan=False)
    batch_size: int = Field(ge=1)
    steps: int = Field(ge=1)
    trains: Literal["encoders", "everything"] = "encoders"

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
                f"A step of private training expects {self.batch_size} patients (key batch-size of the "
                "plan's privacy), and this site has fewer training patients for this model. Plan smaller "
                "batches, or leave this modality out of site.toml.",
                local=f"{num_patients} training patients",
            )
        return self.batch_size / num_patients

    @property
    def noise_claim(self) -> str:
        """What the noise protects, in whole sentences."""
        delta = "min(1e-5, 1/(10 N)) for N training patients" if self.delta is None else f"{self.delta:g}"
        return (
            "All weights that such a site sent are (epsilon, delta)-differentially private with epsilon at "
            f"most {self.epsilon:g} and delta = {delta}. The unit is one training patient of that site, with "
            "everything measured of this patient, added or taken away; the site's ledger counts all rounds, "
            "runs, blocks and fused models together. Epsilon does not cover the number of a site's training "
            "patients, the sums agreed on before training (normalisation, time bins, base rates), the means "
            "and spreads that a site takes of its own patients where too few share them, Gram matrices, or "
            "the scores on validation and test patients and what was chosen by them."
        )


class AbstractPrivacy(Component):
    """A privacy plan: what the server may see of a site, and how far patients are hidden in it."""

    @property
    @abstractmethod
    def sum_terms(self) -> SumTerms | None:
        """How numbers are summed unseen; None where they travel as they are."""

    @property
    @abstractmethod
    def noise_terms(self) -> NoiseTerms | None:
        """The noise in every site's training; None where there is none."""

    @property
    def noise_alone(self) -> NoiseTerms | None:
        """The noise in the training of sites whose updates travel one by one."""
        return self.noise_terms

    @property
    @abstractmethod
    def small_groups(self) -> Literal["refuse", "keep-local", "patient-dp"]:
        """What becomes of a model to which too few sites contribute for a sum."""

    @property
    @abstractmethod
    def claim(self) -> str:
        """What this plan does and does not protect, in whole sentences, for the report."""

    @property
    def travel_alone(self) -> tuple[str, ...]:
        """Modalities whose updates may travel one by one, with noise, where others are summed."""
        return ()

    @property
    def sums_table(self) -> str:
        """Where a plan says how sums are made: `privacy.clip-norm` and others are keys of this table."""
        return "privacy"

    @property
    def num_updates_shown(self) -> int | None:
        """How many updates of a model the server can compare: those of buckets; None for every site's."""
        return self.sum_terms.buckets if self.sum_terms else None


def default_delta(num_patients: int) -> float:
    """The smaller of 1e-5 and a tenth of one over the number of patients."""
    return min(DELTA, 1 / (10 * max(1, num_patients)))
