"""Is there enough of the privacy budget left for this run?"""

from typing import final

from client.ledger import SiteLedger
from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises
from lego_core.accounting import NoisySteps
from lego_core.privacy import NoiseTerms


@final
class Budget(AbstractCheck):
    """What the site's ledger says is spent, and what all rounds of the run would cost besides."""

    name = "privacy-budget"
    asks = "Is there enough of the privacy budget left for the run?"
    needs = ("file", "plan", "cohort")

    def look(self, premises: Premises) -> Finding:
        noise = premises.plan().privacy.noise_terms
        if noise is None:
            return self.passed(
                f"Privacy '{premises.plan().privacy.kind}' trains without noise and spends no budget."
            )
        path = premises.wish.folder / "ledger.jsonl"
        delta = noise.delta_for(len(premises.cohort().part("train")))
        planned = _planned(premises, noise)
        if not planned:
            return self.skipped("There are no training patients.")
        before, after = SiteLedger.forecast(path, planned, delta=delta)
        measured = {"epsilon_spent": round(before, 3), "epsilon_after": round(after, 3), "delta": delta}
        limits = {"epsilon": noise.epsilon}
        said = (
            f"Epsilon {before:.3g} of {noise.epsilon:g} is spent; all rounds of this run would make it "
            f"{after:.3g}."
        )
        if before >= noise.epsilon:
            return self.fix(
                said, "This site cannot train under this plan any more; agree on another, or stay out.",
                measured=measured, limits=limits,
            )  # fmt: skip
        if after > noise.epsilon:
            return self.look_at(
                f"{said} This site stops training before the run ends.",
                "Plan fewer rounds or more noise; 'fedlego plan-privacy' tells how much.",
                measured=measured, limits=limits,
            )  # fmt: skip
        return self.passed(said, measured=measured, limits=limits)


def _planned(premises: Premises, noise: NoiseTerms) -> list[NoisySteps]:
    """Every step of private training that the run may ask of this site."""
    plan, train = premises.plan(), premises.cohort().part("train")
    rounds = plan.rounds.rounds if plan.rounds.mode == "rounds" else 1
    asked = [(len(train.holding(name)), rounds) for name in premises.held]
    paired = len(train.with_several(premises.held))
    if plan.fuse is not None and paired:
        asked.append((paired, plan.fuse.rounds))
    return [
        NoisySteps(noise.noise_multiplier, noise.sampling_rate(patients), noise.steps * times)
        for patients, times in asked
        if patients
    ]
