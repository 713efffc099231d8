"""Help with planning patient-level privacy: noise, steps, batches and epsilon, in sentences."""

from collections.abc import Iterator

from lego_core.accounting import NoisySteps, epsilon_of, needed_noise
from lego_core.errors import PlanError
from lego_core.privacy import default_delta

RECOMMENDED, WEAK = 3.0, 8.0


def privacy_advice(
    *,
    patients: int,
    batch_size: int,
    steps: int,
    epsilon: float | None = None,
    noise_multiplier: float | None = None,
    delta: float | None = None,
) -> list[str]:
    """Lines to read: the noise that an epsilon asks for, or what a noise costs, and some alternatives.

    Args:
        patients: Training patients N of a site.
        batch_size: Patients expected in a step.
        steps: All steps that any patient of the site may take part in.
        epsilon: The budget; or
        noise_multiplier: the noise.
        delta: The smaller of 1e-5 and 1 / (10 N) if not given.

    Raises:
        PlanError: If not one of epsilon and noise is given, or a batch has more patients than the site.
        PrivacyError: If no noise would do.
    """
    if (epsilon is None) == (noise_multiplier is None):
        raise PlanError(
            "Give the epsilon you may spend, or the noise multiplier you have in mind: one of both."
        )
    if batch_size > patients:
        raise PlanError(
            f"A step cannot expect {batch_size} of {patients} patients. Give a smaller batch size."
        )
    delta = default_delta(patients) if delta is None else delta
    if not 0 < delta < 1:
        raise PlanError(
            f"Delta is a chance, and {delta:g} does not lie between 0 and 1. Leave it out, or mend it."
        )
    rate = batch_size / patients
    if noise_multiplier is not None:
        return list(_price_of(noise_multiplier, delta=delta, rate=rate, steps=steps))
    return list(_noise_for(epsilon or 0.0, delta=delta, rate=rate, steps=steps, batch_size=batch_size))


def _noise_for(epsilon: float, *, delta: float, rate: float, steps: int, batch_size: int) -> Iterator[str]:
    noise = needed_noise(epsilon, delta=delta, sampling_rate=rate, steps=steps)
    yield (
        f"For epsilon = {epsilon:g} at delta = {delta:.3g} in {steps} steps you need noise-multiplier = "
        f"{noise:g} (each patient takes part in a step with probability {rate:.3g})."
    )
    yield from _judged(epsilon)
    yield ""
    yield f"{'steps':>8} {'batch':>6} {'noise-multiplier':>17} {'noise on the mean':>18}"
    for share, larger in ((1, 1), (0.5, 1), (0.25, 1), (1, 2)):
        if rate * larger <= 1 and steps * share >= 1:
            fewer = round(steps * share)
            own = needed_noise(epsilon, delta=delta, sampling_rate=rate * larger, steps=fewer)
            on_mean = own / (batch_size * larger)
            yield f"{fewer:>8} {batch_size * larger:>6} {own:>17g} {on_mean:>18.4f}"
    yield "The last column is what learning feels: noise on the mean gradient of a step, in clip norms."


def _price_of(noise: float, *, delta: float, rate: float, steps: int) -> Iterator[str]:
    cost = epsilon_of([NoisySteps(noise, rate, steps)], delta=delta)
    yield (
        f"Noise-multiplier = {noise:g} costs epsilon = {cost.value:.3g} at delta = {delta:.3g} in {steps} "
        f"steps (each patient takes part in a step with probability {rate:.3g}; by RDP, at most "
        f"{cost.rdp:.3g})."
    )
    yield from _judged(cost.value)
    yield ""
    yield f"{'steps':>8} {'noise-multiplier':>17} {'epsilon':>9}"
    for share, more in ((0.25, 1), (0.5, 1), (1, 1), (2, 1), (1, 0.75), (1, 1.5), (1, 2)):
        if steps * share >= 1:
            other = NoisySteps(noise * more, rate, round(steps * share))
            price = epsilon_of([other], delta=delta).value
            yield f"{other.steps:>8} {other.noise_multiplier:>17.3g} {price:>9.3g}"


def _judged(epsilon: float) -> Iterator[str]:
    if epsilon > WEAK:
        yield f"Epsilon above {WEAK:g} is a weak promise; {RECOMMENDED:g} or less is recommended."
    elif epsilon > RECOMMENDED:
        yield f"Epsilon of {RECOMMENDED:g} or less is recommended."
