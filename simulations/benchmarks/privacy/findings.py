"""What attacks come to: one row and one sentence each, and what a reader should know of the whole."""

from collections.abc import Iterator, Sequence
from typing import final

from lego_core.run_report import Examined
from simulations.benchmarks.privacy.canaries import Guessed
from simulations.benchmarks.privacy.counting import FEW_ALARMS, Estimate
from simulations.benchmarks.privacy.inversion import Likeness
from simulations.benchmarks.results import AbstractResults

GATE = 0.55  # the interval of a membership attack must end below it wherever a plan promises an epsilon
COIN = 0.5
MERGE = "the merge"  # what the merge of all blocks is called
METRIC_OF = "metric of "  # before the name of a model, where its metric is kept
MEASURES = {
    "AUC": "tests of membership by AUC",
    "TPR at 1 % FPR": "by members found at few false alarms",
    "cosine": "readings of updates by cosine",
    "epsilon": "audits by epsilon",
}


@final
class PrivacyResults(AbstractResults):
    """`results.json` of an examination; further settings as in `AbstractResults`.

    Args:
        settings: How many patients, models, trials and canaries.
        utility: The task's metric of each plan's models on patients who trained none of them.
        rows: All attacks.
        findings: What they come to, in whole sentences.
    """

    settings: dict[str, float]
    utility: dict[str, dict[str, float]]
    rows: tuple[Examined, ...]
    findings: tuple[str, ...]


def membership_row(
    estimate: Estimate, *, attack: str, model: str, plan: str, claimed: float | None
) -> Examined:
    """How well members are told from strangers."""
    verdict = _verdict(estimate, COIN)
    said = (
        f"Under {plan}, {_an_attack(attack)} tells who trained {model} from who did not with an AUC of "
        f"{_interval(estimate)}: {verdict}."
    )
    return Examined.model_validate(
        {
            "attack": attack, "measure": "AUC", "model": model, "plan": plan, "value": estimate.value,
            "low": estimate.low, "high": estimate.high, "chance": COIN, "claimed": claimed,
            "leaks": estimate.low > COIN, "sentence": said + _gate(estimate, claimed),
        }
    )  # fmt: skip


def alarms_row(estimate: Estimate, *, attack: str, model: str, plan: str, claimed: float | None) -> Examined:
    """How many members are found with few false alarms."""
    said = (
        f"Under {plan}, {_an_attack(attack)} finds {_interval(estimate)} of the members of {model} while it "
        f"takes one stranger in a hundred for one: {_verdict(estimate, FEW_ALARMS)}."
    )
    return Examined.model_validate(
        {
            "attack": attack, "measure": "TPR at 1 % FPR", "model": model, "plan": plan,
            "value": estimate.value, "low": estimate.low, "high": estimate.high, "chance": FEW_ALARMS,
            "claimed": claimed, "leaks": estimate.low > FEW_ALARMS, "sentence": said,
        }
    )  # fmt: skip


def inversion_row(likeness: Likeness, *, what: str, plan: str) -> Examined:
    """How like the patients behind an update its reading is."""
    leaks = likeness.lead.low > 0
    verdict = "closer to them than to strangers" if leaks else "no closer to them than to strangers"
    said = (
        f"Under {plan}, what the server sees of {what} can be read as values with a cosine of "
        f"{_interval(likeness.found)} to the patients behind it and of {likeness.strangers.value:.3f} to "
        f"others: {verdict}."
    )
    return Examined(
        attack="inversion", measure="cosine", model=what, plan=plan, value=likeness.found.value,
        low=likeness.found.low, high=likeness.found.high, chance=likeness.strangers.value,
        leaks=leaks, sentence=said,
    )  # fmt: skip


def canary_row(found: Guessed, least: float, *, model: str, plan: str, claimed: float | None) -> Examined:
    """The least epsilon, next to the one that is claimed."""
    said = (
        f"Under {plan}, {found.right} of {found.guesses} guesses about the canaries of {model} were right, "
        f"which rules out any epsilon below {least:.2f}."
        if least
        else f"Under {plan}, {found.right} of {found.guesses} guesses about the canaries of {model} were "
        "right, which rules out no epsilon."
    )
    if claimed is not None:
        said += (
            f" The plan claims {claimed:.2f}, and nothing speaks against it."
            if least <= claimed
            else f" THE PLAN CLAIMS {claimed:.2f}: THE CLAIM DOES NOT HOLD."
        )
    return Examined(
        attack="canaries", measure="epsilon", model=model, plan=plan, value=least, chance=0.0,
        claimed=claimed, leaks=least > 0, sentence=said,
    )  # fmt: skip


def conclusions(rows: Sequence[Examined]) -> Iterator[str]:
    """What is at chance and what is not, plan by plan, and whether every promise was kept."""
    for plan in dict.fromkeys(row.plan for row in rows):
        own = [row for row in rows if row.plan == plan]
        told = [line for measure, name in MEASURES.items() for line in _counted(own, measure, name)]
        yield f"{plan}: better than chance are {'; '.join(told)}."
    promised = [row for row in rows if row.claimed is not None]
    if not promised:
        yield "No plan here promises an epsilon, so no gate applies."
        return
    above = [row for row in promised if row.measure == "AUC" and row.high is not None and row.high > GATE]
    yield from (f"GATE NOT PASSED: {row.sentence}" for row in above)
    if not above:
        yield (
            f"Wherever a plan promises an epsilon, the interval of every membership attack ends at {GATE} or "
            "below: the gate is passed."
        )
    broken = [row for row in promised if row.measure == "epsilon" and row.value > (row.claimed or 0)]
    yield from (f"CLAIM BROKEN: {row.sentence}" for row in broken)
    if not broken and any(row.measure == "epsilon" for row in promised):
        yield "No canary speaks against an epsilon that is claimed."


def _counted(rows: Sequence[Examined], measure: str, name: str) -> Iterator[str]:
    """How many attacks of a kind do better than chance, and the strongest of them."""
    own = [row for row in rows if row.measure == measure]
    leaks = [row for row in own if row.leaks]
    if not own:
        return
    if not leaks:
        yield f"none of {len(own)} {name}"
        return
    best = max(leaks, key=lambda row: row.value)
    yield f"{len(leaks)} of {len(own)} {name} (at most {best.value:.3f}, {best.attack} on {best.model})"


def _an_attack(attack: str) -> str:
    return {
        "loss threshold": "a threshold on the loss",
        "likelihood ratio": "a likelihood ratio from shadow models",
    }[attack]


def _verdict(estimate: Estimate, chance: float) -> str:
    if estimate.low > chance:
        return "better than chance"
    return "worse than chance" if estimate.high < chance else "no better than chance"


def _gate(estimate: Estimate, claimed: float | None) -> str:
    if claimed is None:
        return ""
    where = "above" if estimate.high > GATE else "not above"
    return f" Its interval ends {where} the gate of {GATE}."


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
