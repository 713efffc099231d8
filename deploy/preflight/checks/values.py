"""Can the values be true?"""

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor

from deploy.preflight.checks._columns import columns_of, patients_of_rows
from deploy.preflight.checks._contract import AbstractCheck
from deploy.preflight.finding import Finding
from deploy.preflight.premises import Premises
from lego_core._wording import count_of

SPREADS = 20.0  # from the median; ten are where a run cuts values off anyway
FEWEST = 10  # values from which a spread can be told
TO_SPREAD = 1.4826  # what the median deviation of a normal distribution lacks of its standard deviation
MOST_SHOWN = 20


@final
class Values(AbstractCheck):
    """Values lie in the ranges that the plan states; of other features, none lies far off all others.

    Far is 20 robust spreads (1.48 times the median absolute deviation) from the median.

    Source:
        Leys et al. "Detecting outliers: Do not use standard deviation around the mean, use absolute deviation
        around the median." Journal of Experimental Social Psychology 49(4), 2013.
        doi:10.1016/j.jesp.2013.03.013.
    """

    name = "values"
    asks = "Are there values that cannot be, such as an age of 900?"
    needs = ("file", "plan", "cohort")

    def look(self, premises: Premises) -> Finding:
        outside, far, constant = [], [], 0
        for name in premises.held:
            ranges = premises.plan().modalities[name].ranges or {}
            whose = patients_of_rows(premises.cohort(), name)
            for feature, values in columns_of(premises.cohort(), name).items():
                measured = values[~values.isnan()]
                constant += len(measured) > 1 and bool((measured == measured[0]).all())
                if feature in ranges:
                    low, high = ranges[feature]
                    bad = (values < low) | (values > high)
                    outside += _told(
                        f"{name}: {feature}", values, bad, whose, why=f"not in {low:g} to {high:g}"
                    )
                else:
                    bad, middle = _far_off(values)
                    far += _told(f"{name}: {feature}", values, bad, whose, why=f"the median is {middle:g}")
        counts = {"outside_ranges": len(outside), "far_off": len(far), "constant_features": int(constant)}
        if outside:
            return self.fix(
                f"{count_of(len(outside), 'value')} outside the ranges that the plan states.",
                "Correct them, or leave the cells empty (--details names patients and values).",
                measured=counts,
                details=outside[:MOST_SHOWN],
            )
        if far:
            return self.look_at(
                f"{count_of(len(far), 'value')} more than {SPREADS:g} spreads from the median of their "
                "feature.",
                "Look whether they are typing errors or other units (--details names patients and values).",
                measured=counts,
                limits={"spreads": SPREADS},
                details=far[:MOST_SHOWN],
            )
        return self.passed("No value lies far off all others.", measured=counts, limits={"spreads": SPREADS})


def _far_off(values: Tensor) -> tuple[Tensor, float]:
    measured = values[~values.isnan()]
    nowhere = torch.zeros(len(values), dtype=torch.bool)
    if len(measured) < FEWEST:
        return nowhere, 0.0
    middle = measured.median()
    spread = TO_SPREAD * (measured - middle).abs().median()
    if spread == 0:  # most are alike: zeros and ones, counts of rare things
        return nowhere, float(middle)
    return (values - middle).abs() > SPREADS * spread, float(middle)


def _told(feature: str, values: Tensor, bad: Tensor, whose: list[str], *, why: str) -> Iterator[str]:
    for row in bad.nonzero()[:, 0].tolist():
        yield f"{feature} of patient {whose[row]}: {values[row]:g} ({why})"
