"""How much was not measured?"""

from typing import final

from deploy.preflight.checks._columns import columns_of
from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises

MOSTLY = 0.5
MOST_SHOWN = 20


@final
class Missing(AbstractCheck):
    """No feature is empty in all training patients, and few in most of them."""

    name = "missing"
    asks = "Which share of the values is missing?"
    needs = ("file", "plan", "cohort")

    def look(self, premises: Premises) -> Finding:
        train = premises.cohort().part("train")
        shares: dict[str, float] = {}
        for name in premises.held:
            for feature, values in columns_of(train, name).items():
                shares[f"{name}: {feature}"] = float(values.isnan().double().mean()) if len(values) else 1.0
        if not shares or not len(train):
            return self.skipped("There are no training patients.")
        empty = [one for one, share in shares.items() if share == 1]
        mostly = [one for one, share in shares.items() if MOSTLY < share < 1]
        worst = sorted(shares.items(), key=lambda one: -one[1])[:MOST_SHOWN]
        measured = {
            "mean_share": round(sum(shares.values()) / len(shares), 4),
            "empty_features": len(empty),
            "mostly_empty_features": len(mostly),
        }
        details = [f"{feature}: {share:.0%} missing" for feature, share in worst if share]
        if empty:
            return self.fix(
                f"{len(empty)} of {len(shares)} features are empty in all training patients, the first is "
                f"'{empty[0]}'.",
                "Fill them, or take them out of 'features' in site.toml; the plan must then say "
                'features = "common" for the modality.',
                measured=measured,
                details=details,
            )
        if mostly:
            return self.look_at(
                f"{len(mostly)} of {len(shares)} features are empty in more than half of the training "
                "patients.",
                "Look whether that is how it is measured here (--details names them).",
                measured=measured,
                limits={"share": MOSTLY},
                details=details,
            )
        return self.passed(
            f"{measured['mean_share']:.1%} of the values of {len(shares)} features are missing.",
            measured=measured,
        )
