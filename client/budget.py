"""What private training costs: paid from the site's ledger before anything is trained."""

import math

from client.ledger import SiteLedger
from client.site import Site
from lego_core.accounting import NoisySteps
from lego_core.privacy import NoiseTerms
from lego_core.records import Cohort
from lego_core.sum_letters import Spent


def pay(site: Site, noise: NoiseTerms, train: Cohort, *, purpose: str) -> Spent:
    """Charge one local training to the site's ledger, and give what all of them have cost.

    Args:
        site: The site.
        noise: The plan's.
        train: The patients who are about to be trained on.
        purpose: What for.

    Raises:
        BudgetSpent: If it would cost more than the site may spend; nothing is charged then.
        PrivacyError: If there are fewer patients than a step expects.
        LogError: If the ledger cannot be written, or was changed.
    """
    delta = noise.delta_for(len(site.cohort.part("train")))
    steps = NoisySteps(noise.noise_multiplier, noise.sampling_rate(len(train)), noise.steps)
    ledger = SiteLedger(site.folder / "ledger.jsonl")
    after = ledger.charge(
        steps,
        purpose=purpose,
        patients=[record.patient_id for record in train.records],
        budget=noise.epsilon,
        delta=delta,
    )
    epsilon = math.ceil(after.value * 100) / 100
    return Spent(epsilon=epsilon, delta=delta, ledger_head=ledger.head)
