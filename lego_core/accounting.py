"""How much of the patients' privacy a number of noisy steps costs, and how much noise a price asks for.

The budget goes by the PRV accountant, which is tight to within half a percent. The RDP accountant,
which is looser and has nothing in common with it, is asked beside it: it must never say less.
"""

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log, log10
from typing import final

from lego_core._opacus import require_opacus
from lego_core.errors import PrivacyError

# Orders of Rényi divergence; Opacus' own end at 63, too low for small epsilons.
ORDERS = [1 + tenth / 10 for tenth in range(1, 100)] + [*range(11, 64), 72, 96, 128, 192, 256, 512, 1024]
MEANINGLESS = 100.0  # beyond it nothing is promised to anybody, and PRV's tables would not fit into memory
RELATIVE_ERROR, LEAST_ERROR, MOST_ERROR = 0.002, 2e-4, 0.05  # of PRV's epsilon, upwards
MOST_NOISE = 10_000.0


@final
@dataclass(frozen=True, slots=True)
class NoisySteps:
    """Steps of private training that are alike.

    Args:
        noise_multiplier: Standard deviation of the noise, in clip norms.
        sampling_rate: With which probability each patient takes part in a step.
        steps: How many.

    Raises:
        PrivacyError: If any of it is not what it must be.
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int

    def __post_init__(self) -> None:
        if not (0 < self.noise_multiplier < float("inf") and 0 < self.sampling_rate <= 1 and self.steps >= 1):
            raise PrivacyError(
                f"Noise multiplier {self.noise_multiplier}, sampling rate {self.sampling_rate} and "
                f"{self.steps} steps are no private training: the first must be above 0, the second above 0 "
                "and at most 1, the third at least 1. Mend them."
            )


@final
@dataclass(frozen=True, slots=True)
class Epsilon:
    """What was spent.

    Args:
        value: By PRV, rounded upwards; by RDP where it is above 100.
        rdp: By RDP, for comparison.
    """

    value: float
    rdp: float


def epsilon_of(history: Iterable[NoisySteps], *, delta: float) -> Epsilon:
    """What all these steps cost together, whatever their order.

    Args:
        history: Every step that touched the patients.
        delta: Chance at which epsilon may not hold.

    Returns:
        Epsilon for adding or taking away one patient, under Poisson sampling.

    Raises:
        PrivacyError: If the two accountants contradict each other, or Opacus is missing.

    Source:
        PRV: Gopi, Lee, Wutschitz. "Numerical Composition of Differential Privacy." NeurIPS
        2021. arXiv:2106.02848. RDP: Mironov, Talwar, Zhang. "Rényi Differential Privacy of the
        Sampled Gaussian Mechanism." 2019. arXiv:1908.10530.
    """
    alike = _together(history)
    if not alike:
        return Epsilon(0.0, 0.0)
    rdp = _by_rdp(alike, delta)
    if rdp > MEANINGLESS:
        return Epsilon(rdp, rdp)
    error = min(max(RELATIVE_ERROR * rdp, LEAST_ERROR), MOST_ERROR)
    prv = _by_prv(alike, delta, error)
    if not 0 <= prv <= rdp + 2 * error:
        raise PrivacyError(
            f"Two accountants contradict each other: epsilon is {prv:.4g} by PRV and at most {rdp:.4g} by "
            f"RDP, at delta {delta:g} (lego_core.accounting). Nothing is spent on numbers that do not agree; "
            "choose another noise multiplier or number of steps, and report this."
        )
    return Epsilon(prv, rdp)


def needed_noise(epsilon: float, *, delta: float, sampling_rate: float, steps: int) -> float:
    """The least noise multiplier, to three digits, with which steps cost no more than epsilon.

    Raises:
        PrivacyError: If no noise would do.
    """

    def excess(noise: float) -> float:
        return log(epsilon_of([NoisySteps(noise, sampling_rate, steps)], delta=delta).value / epsilon)

    enough = 1.0
    while not epsilon > 0 or excess(enough) > 0:
        enough *= 2
        if not epsilon > 0 or enough > MOST_NOISE:
            raise PrivacyError(
                f"No noise below {MOST_NOISE:g} clip norms brings {steps} steps down to epsilon {epsilon:g} "
                f"at delta {delta:g}. Take fewer steps, smaller batches or a larger epsilon."
            )
    little = enough / 2
    while excess(little) <= 0:
        enough, little = little, little / 2
    from scipy.optimize import root_scalar  # slow to import

    noise = float(root_scalar(excess, bracket=(little, enough), xtol=1e-3 * little).root)
    digits = 2 - floor(log10(noise))
    noise = ceil(noise * 10**digits) / 10**digits
    while excess(noise) > 0:
        noise = round(noise + 10.0**-digits, digits)
    return noise


def _together(history: Iterable[NoisySteps]) -> list[tuple[float, float, int]]:
    counted: Counter[tuple[float, float]] = Counter()
    for one in history:
        counted[one.noise_multiplier, one.sampling_rate] += one.steps
    return [(noise, rate, steps) for (noise, rate), steps in sorted(counted.items())]


def _by_rdp(history: list[tuple[float, float, int]], delta: float) -> float:
    require_opacus()
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = list(history)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the best order is the last one: looser, and still a bound
        return float(accountant.get_epsilon(delta, alphas=ORDERS))


def _by_prv(history: list[tuple[float, float, int]], delta: float, error: float) -> float:
    require_opacus()
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = list(history)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the logarithm of 1 - q is -inf for q = 1, as it should be
        return float(accountant.get_epsilon(delta, eps_error=error))
