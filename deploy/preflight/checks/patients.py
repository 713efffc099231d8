"""Are there enough patients for what rules and plan ask?"""

from collections.abc import Iterator
from typing import final

from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises
from lego_core.records import Part

FEWEST_IN_STATISTICS = 2
Short = tuple[str, int, int, str]  # what, how many, how many are needed, where that is said


@final
class Patients(AbstractCheck):
    """Training patients of every modality, and validation and test patients for scores that may leave."""

    name = "patients"
    asks = "Are there enough patients to train, to validate and to test?"
    needs = ("file", "plan", "cohort")

    def look(self, premises: Premises) -> Finding:
        plan, terms = premises.plan(), premises.plan().privacy.sum_terms
        counts = {
            f"{part}_{name}": len(premises.cohort().part(part).holding(name))
            for name in premises.held
            for part in ("train", "validation", "test")
        }
        told = ", ".join(f"{name} {_three(premises, name)}" for name in premises.held)
        most = max((counts[f"train_{name}"] for name in premises.held), default=0)
        if terms is not None and most > terms.weight_cap:
            return self.fix(
                f"{most} training patients are more than the {terms.weight_cap} that the plan lets count "
                "(key "
                f"{plan.privacy.sums_table}.weight-cap).",
                "Let the plan count more, or keep some out of training (table [split] of site.toml).",
                measured=counts,
                limits={"weight_cap": terms.weight_cap},
            )
        short = list(_short(premises))
        limits = {what: needed for what, _, needed, _ in short}
        if short:
            what, found, needed, key = short[0]
            more = f" ({len(short) - 1} more like it)" if len(short) > 1 else ""
            return self.fix(
                f"{found} {what} patients, and {needed} are needed ({key}){more}.",
                "Bring more patients, change the shares in [split] of site.toml, or take the modality out "
                "of it.",
                measured=counts,
                limits=limits,
            )
        untold = [f"{part} of {name}" for part in ("validation", "test") for name in premises.held
                  if counts[f"{part}_{name}"] < _smallest(premises)]  # fmt: skip
        if untold:
            return self.look_at(
                f"Fewer than {_smallest(premises)} patients for {', '.join(untold)}: no scores of these "
                "leave "
                "the site.",
                "Nothing, if other sites validate and test; otherwise change the shares in [split] of "
                "site.toml.",
                measured=counts,
                limits={"smallest_count": _smallest(premises)},
            )
        return self.passed(f"Training, validation, test: {told}.", measured=counts)


def _three(premises: Premises, name: str) -> str:
    parts: tuple[Part, ...] = ("train", "validation", "test")
    return " + ".join(str(len(premises.cohort().part(part).holding(name))) for part in parts)


def _smallest(premises: Premises) -> int:
    return max(premises.plan().evaluation.smallest_count, premises.file().rules.smallest_count or 1)


def _short(premises: Premises) -> Iterator[Short]:
    """Every modality of which too few patients train; a site may well hold none but test patients."""
    noise, own = premises.plan().privacy.noise_terms, premises.file().rules.smallest_count or 0
    needed = max(
        (FEWEST_IN_STATISTICS, "a sum over one patient would be this patient"),
        (own, "key rules.smallest-count of site.toml"),
        (noise.batch_size if noise else 0, "key batch-size of the plan's privacy"),
    )
    for name in premises.held:
        found = len(premises.cohort().part("train").holding(name))
        tests_only = not found and len(premises.cohort().part("test").holding(name)) > 0
        if found < needed[0] and not tests_only:
            yield f"training {name}", found, needed[0], needed[1]
