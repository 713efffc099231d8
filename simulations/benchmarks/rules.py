"""The merge rules that are compared, by the name they have in every table: `merge:NAME`.

To compare another, add it here: which latent rule, which rule for heads, which weights.
"""

from lego_core.merging import HarmonicMean, Mean, Slerp
from lego_core.plan import Merging

RULES: dict[str, Merging] = {
    "harmonic-mean": Merging(latents=HarmonicMean(), heads=Slerp()),
    "harmonic-mean-published": Merging(latents=HarmonicMean(phase="published"), heads=Slerp()),
    "mean": Merging(latents=Mean(), heads=Slerp()),
}


def default_rule(merging: Merging) -> str | None:
    """The name under which a plan's own merging is compared, if it is."""
    return next((name for name, rule in RULES.items() if rule == merging), None)
