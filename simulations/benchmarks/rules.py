"""The merge rules that are compared, by the name they have in every table: `merge:NAME`.

To compare another, add it here: which latent rule, which rule for heads and trunks, which
weights. A name that begins with `trunk-` merges the trunks too, with the default latent rule,
and the heads by the same method.
"""

from lego_core.merging import (
    Dare,
    HarmonicMean,
    Linear,
    Mean,
    ModalityArithmetic,
    RegMean,
    Slerp,
    Ties,
    WeightMerge,
)
from lego_core.plan import Merging

TRUNK_METHODS: dict[str, WeightMerge] = {
    "linear": Linear(),
    "slerp": Slerp(),
    "arithmetic": ModalityArithmetic(strength=1.5),  # strength 1 is `linear`, by another way
    "regmean": RegMean(),
    "ties": Ties(),
    "dare": Dare(),
}

RULES: dict[str, Merging] = {
    "harmonic-mean": Merging(latents=HarmonicMean(), heads=Slerp()),
    "harmonic-mean-published": Merging(latents=HarmonicMean(phase="published"), heads=Slerp()),
    "mean": Merging(latents=Mean(), heads=Slerp()),
    "harmonic-mean+validation": Merging(latents=HarmonicMean(), heads=Slerp(), modality_weights="validation"),
    "mean+validation": Merging(latents=Mean(), heads=Slerp(), modality_weights="validation"),
    **{f"trunk-{name}": Merging(heads=method, trunk=method) for name, method in TRUNK_METHODS.items()},
    "trunk-slerp-own-attention": Merging(heads=Slerp(), trunk=Slerp(), apart=("norms", "attention")),
}


def default_rule(merging: Merging) -> str | None:
    """The name under which a plan's own merging is compared, if it is."""
    return next((name for name, rule in RULES.items() if rule == merging), None)
